"""The training runs of a page: their order, their names, and what cleaning leaves out of them."""

from __future__ import annotations

import numpy as np
from support.pages import data_of, two_runs, written
from support.stores import filled, record, texts

from jaxmap.analysis.context import Context
from jaxmap.analysis.learning import measure_learning
from jaxmap.analysis.runs import runs_of


def test_layers_are_no_checkpoints_of_a_run(tmp_path):
    of = texts()
    records = [
        record(of, "org/a", f"step{step}", layer=layer, num_layers=1)
        for step in (0, 1)
        for layer in (None, 0, 1)
    ]
    store, _ = filled(tmp_path / "store", of, *records)
    (run,) = runs_of(store)
    assert run.steps.tolist() == [0, 1]


def test_runs_of_one_name_from_two_places_keep_their_places(tmp_path):
    _, store = two_runs(tmp_path / "store", names=("one/a", "two/a"))
    assert sorted(run.name for run in runs_of(store)) == ["one/a", "two/a"]


def test_steps_are_in_order_of_training_when_folders_name_them(tmp_path):
    of = texts()
    records = [record(of, f"/models/run/step{step}") for step in (10, 2, 0)]
    store, _ = filled(tmp_path / "store", of, *records)
    (run,) = runs_of(store)
    assert run.name == "run"
    assert run.steps.tolist() == [0, 2, 10]


def test_bad_checkpoints_are_gaps_and_bad_runs_are_not_shown(tmp_path):
    of = texts()
    rng = np.random.default_rng(0)
    records = [
        record(
            of,
            f"EleutherAI/{name}",
            f"step{step}",
            scores=-3.0 * of.num_bytes + rng.normal(0, 9, len(of)),
        )
        for name in ("pythia-410m-seed3", "pythia-1b", "pythia-2.8b")
        for step in (115_000, 116_000, 117_000)
    ]
    store, _ = filled(tmp_path / "store", of, *records)
    curves = measure_learning(Context(store)).curves
    assert [curve.name for curve in curves] == ["pythia-1b", "pythia-2.8b"]
    assert np.isfinite(curves[0].bits_I).tolist() == [True, False, True]
    assert np.isfinite(curves[1].bits_I).all()
    _, page = written(store, tmp_path / "report.html")
    assert "excluded: EleutherAI/pythia-410m-seed3, all checkpoints" in page.words
    assert "excluded: EleutherAI/pythia-1b, step 116000" in page.words
    assert "≈ 2.8B" in page.words
    names = data_of(tmp_path / "report.html")["heat"]
    assert names is None or "pythia-410m-seed3" not in names["labels"]

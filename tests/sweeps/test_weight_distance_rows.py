"""Rows of weight distances in a store: damaged, named otherwise, read by the analyses."""

from __future__ import annotations

import shutil
from collections import Counter

import numpy as np
import pytest
from support.checkpoints import (
    jaxmap,
    score,
    write_texts,
)
from support.stores import filled, record
from support.stores import texts as make_texts
from support.weight_runs import RUN, files, oracle, planned, points, take_all, within

from jaxmap.analysis.context import Context
from jaxmap.analysis.diffusion import measure_diffusion
from jaxmap.naming import parse
from jaxmap.store.weight_distances import (
    DistanceRow,
    DistanceTable,
    read_distances,
)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut", None])
def test_damaged_rows_count_as_missing(damage, run13, whole, tmp_path):
    shutil.copytree(whole / "weights", tmp_path / "weights")
    path = next((tmp_path / "weights").glob("*step4000*"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] if damage is None else damage)
    again = planned(tmp_path, 13)
    needed = again.missing(RUN, points(13))
    assert needed == set(range(5))
    assert list(DistanceTable(tmp_path).corrupt()) == [path]
    take_all(again, run13, sorted(needed))
    assert files(tmp_path) == files(whole)
    assert not DistanceTable(tmp_path).corrupt()


def test_from_scoring_to_exponents(run13, tmp_path, reads):
    """`jaxmap score --weight_distance`, then `jaxmap diffusion`: both spaces, one read."""
    folder = tmp_path / "run"
    for one in run13[1:8]:
        shutil.copytree(one, folder / one.name)
    store, texts = tmp_path / "store", write_texts(tmp_path / "texts.jsonl")
    models = f"{folder}@step{{1000:7001:1000}}"
    ran = score(store, texts, models, weight_distance=4)
    assert (ran.code, ran.messages) == (0, [])
    assert set(reads[0].values()) == {1}
    steps = np.arange(1000, 8000, 1000)
    expected = within(oracle(run13[1:8]), 4)
    found = read_distances(store)[str(folder)]
    np.testing.assert_array_equal(found.steps, steps)
    np.testing.assert_allclose(found.distance, expected, rtol=1e-9)
    assert "distances   18 of 18 between weights" in jaxmap("status", f"--store={store}").out

    # Lost since: only the distances are taken again, no score.
    next((store / "weights").glob("*step6000*")).unlink()
    before = files(store)
    ran = score(store, texts, models, weight_distance=4)
    assert ran.out.startswith("0 scored, 7 already done")
    assert ran.code == 0
    np.testing.assert_array_equal(read_distances(store)[str(folder)].distance, found.distance)
    assert set(files(store)) > set(before)
    times = Counter({name: times for (name, _), times in reads[0].items()})
    assert times == {f"step{step}": 2 if 2000 <= step <= 6000 else 1 for step in steps}

    out = tmp_path / "out"
    ran = jaxmap(
        "diffusion", f"--store={store}", f"--out={out}", "--window=4", "--start_from=1000",
        "--warmup_steps=1000",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    rows = [line.split(",") for line in (out / "diffusion.csv").read_text().splitlines()[1:]]
    assert [row[:3] for row in rows] == [
        ["run", str(step), space] for space in ("log_likelihood", "weight") for step in steps[:3]
    ]
    for i, row in enumerate(rows[3:]):
        lags = np.log(np.arange(1, 5))
        slope = np.polyfit(lags, np.log(expected[i, i + 1 : i + 5]), 1)[0]
        assert float(row[3]) == pytest.approx(slope, rel=1e-6)
        assert 0.8 < slope < 1.2  # a random walk


@pytest.mark.parametrize(
    ("ref", "revision"),
    [("org/x", "step{}"), ("runs/x/step{}", None), ("runs/x-step{}", None),
     ("runs/x/global_step{}", None)],
)  # fmt: skip
def test_runs_under_any_names(ref, revision, tmp_path):
    """What the sweep keeps them under is where the exponents look."""
    texts = make_texts()
    steps = range(0, 6000, 1000)
    refs = [(ref.format(step), revision and revision.format(step)) for step in steps]
    store, _ = filled(tmp_path, texts, *(record(texts, *one) for one in refs))
    (run,) = {parse(*one).run_name for one in refs}
    for step in steps:
        to = {(other, "c0"): float(step - other) for other in steps if other < step}
        DistanceTable(tmp_path).add(DistanceRow(run, step, "c0", to))
    found = measure_diffusion(Context(store), start_from=0, window=4).exponents
    weight = [one for one in found if one.trajectory.space == "weight"]
    np.testing.assert_allclose(weight[0].exponent, 1.0)

"""The demo: what it trains, scores and writes, run once, again, and with its models spoilt."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.demos import RUNS, STEPS, documents, endings, tiny, weights

from jaxmap.analysis.context import Context
from jaxmap.analysis.learning import measure_learning
from jaxmap.analysis.runs import runs_of
from jaxmap.analysis.scale import measure_scale
from jaxmap.demos.corpus import prepare_corpus, split
from jaxmap.demos.result import OUTPUTS
from jaxmap.demos.run import run_demo
from jaxmap.errors import InputError
from jaxmap.store import Store


def test_everything_is_there_and_the_losses_fall(demo):
    for name in ("texts.jsonl", *OUTPUTS):
        assert (demo / name).stat().st_size > 0, name
    assert set(weights(demo)) == {
        f"models/{run}/step{step}/model.safetensors" for run in RUNS for step in STEPS
    }
    assert not (demo / "state").exists()
    assert not list(demo.rglob(".building-*"))
    store = Store.open(demo / "store")
    assert len(store.records()) == len(RUNS) * len(STEPS)
    assert not store.failures()
    runs = runs_of(store)
    assert sorted(run.name for run in runs) == sorted(RUNS)
    for run in runs:
        assert run.steps.tolist() == list(STEPS)
    curves = measure_learning(Context(store)).curves
    assert [curve.name for curve in curves] == [run.name for run in runs]
    assert all(curve.bits_I[-1] < curve.bits_I[0] - 0.2 for curve in curves)


def test_tables_hold_the_pairs(demo):
    with open(demo / "kl_consecutive.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(RUNS) * (len(STEPS) - 1)
    first = [row for row in rows if row["model_b"].endswith("@step1")]
    assert len(first) == len(RUNS)
    # The first update has learning rate 0.
    assert all(float(row["kl_bits_per_byte"]) == 0 for row in first)
    assert all(float(row["kl_bits_per_byte"]) > 0 for row in rows if row not in first)
    with open(demo / "kl_final.csv") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    assert all(row["model_a"].endswith("@step12") for row in rows)
    store = Store.open(demo / "store")
    ll = {run.name: store.load(run.entries[-1]).log_likelihood for run in runs_of(store)}
    mean_bytes = store.texts.mean_bytes
    for row in rows:
        a, b = (ll[row[key].split("/")[-1].split("@")[0]] for key in ("model_a", "model_b"))
        expected = np.var(a - b) / (2 * mean_bytes * np.log(2))
        assert float(row["kl_bits_per_byte"]) == pytest.approx(expected, rel=1e-9)


def test_the_last_checkpoints_in_every_form(demo, tmp_path):
    out = tmp_path / "out"
    for name in ("models", "corpus"):
        shutil.copytree(demo / name, out / name)
    for name in ("texts.jsonl", "demo.json"):
        shutil.copy(demo / name, out / name)
    forms = dict(lens=True, quantize=("fp4",), dtypes=("bfloat16",))
    assert endings(run_demo(out, tiny(**forms), documents())) == {"done"}
    store = Store.open(out / "store")
    labels = {entry.label.removeprefix(f"{out}/models/") for entry in store.records()}
    forms_of = {
        f"{run}@step12{form}"
        for run, depth in zip(RUNS, (1, 1, 2), strict=True)
        for form in ("", "+fp4", *(f"#layer{i:02d}" for i in range(depth + 1)))
    }
    assert forms_of | {"pythia-demo-s@step12+bfloat16"} <= labels
    assert len(labels) == len(RUNS) * (len(STEPS) + 1) + 4 + 3 + 1
    counts = {
        row.setting.name: row.summary.n
        for row in measure_scale(Context(store, warmup_steps=4)).rows
    }
    assert (counts["4-bit"], counts["layer"]) == (3, 4)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Precision floor" in page


def test_a_rerun_changes_no_file(demo):
    def state() -> dict[Path, tuple[int, int]]:
        files = (path for path in demo.rglob("*") if path.is_file() and path.name != ".lock")
        return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in files}

    before = state()
    run = run_demo(demo, tiny(), documents())
    assert endings(run) == {"done"}
    assert state() == before
    assert "at step 12\nreport in" in run.text()


def test_a_lost_page_is_drawn_again(demo):
    page = (demo / "report.html").read_bytes()
    records = {path: path.stat().st_mtime_ns for path in (demo / "store" / "records").iterdir()}
    (demo / "report.html").unlink()
    assert endings(run_demo(demo, tiny(), documents())) == {"done"}
    assert (demo / "report.html").read_bytes() == page
    after = {path: path.stat().st_mtime_ns for path in (demo / "store" / "records").iterdir()}
    assert after == records


def test_a_checkpoint_that_cannot_be_read_is_told_and_the_rest_goes_on(demo, tmp_path):
    out = tmp_path / "out"
    for name in ("models", "corpus"):
        shutil.copytree(demo / name, out / name)
    for name in ("texts.jsonl", "demo.json"):
        shutil.copy(demo / name, out / name)
    for folder in (out / "models").glob("*/step8"):
        (folder / "model.safetensors").write_bytes(b"not a checkpoint")
    run = run_demo(out, tiny(), documents())
    assert "bad input" in endings(run)
    assert "3 checkpoints could not be scored" in run.text()
    page = (out / "report.html").read_text()
    assert "What failed" in page
    assert "pythia-demo-s@step8" in page
    assert len(Store.open(out / "store").records()) == len(RUNS) * (len(STEPS) - 1)
    for file in (out / "models").rglob("model.safetensors"):
        file.write_bytes(b"nothing at all")
    shutil.rmtree(out / "store")
    run = run_demo(out, tiny(), documents())
    assert endings(run) == {"bad input"}
    assert "18 checkpoints could not be scored" in run.text()
    assert "What failed" in (out / "report.html").read_text()


def test_no_scored_document_was_trained_on(demo):
    held_out, training = split(documents(), tiny())
    rows = [json.loads(line) for line in (demo / "texts.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    assert {row["document"] for row in rows} <= {name for name, _ in held_out}
    assert not {name for name, _ in held_out} & {name for name, _ in training}
    assert all(64 < len(row["text"].encode()) <= 160 for row in rows)


def test_training_text_stops_at_its_limit():
    _, training = split(documents(), tiny(train_bytes=10_000))
    sizes = [len(text.encode()) for _, text in training]
    assert sum(sizes[:-1]) < 10_000 <= sum(sizes)


def test_a_folder_of_another_demo_is_refused_untouched(demo):
    before = (demo / "demo.json").read_bytes()
    with pytest.raises(InputError, match="another configuration"):
        run_demo(demo, tiny(steps=16), documents())
    assert (demo / "demo.json").read_bytes() == before
    # How often the state is kept changes no result.
    assert endings(run_demo(demo, tiny(state_seconds=9.0), documents())) == {"done"}


def test_a_vocabulary_below_the_bytes_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"vocabulary=100 is too small.*at least 257"):
        prepare_corpus(tmp_path, tiny(vocabulary=100), documents())
    assert not (tmp_path / "corpus").exists()

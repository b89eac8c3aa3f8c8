"""What the demo makes of a trained model: a second stage, a branch, derived models."""

from __future__ import annotations

import csv
import shutil

import numpy as np
import pytest
from support.demos import STEPS, documents, tiny

from jaxmap.analysis.context import Context
from jaxmap.analysis.scale import measure_scale
from jaxmap.checkpoint.refs import Ref
from jaxmap.corpus.texts import load_texts
from jaxmap.demos.comparison import compare_derived
from jaxmap.demos.corpus import prepare_corpus
from jaxmap.demos.derived_models import GGUF_TYPES, derived_models, make_derived
from jaxmap.demos.run import run_demo
from jaxmap.demos.settings import ModelSize
from jaxmap.demos.train import train_runs
from jaxmap.store import Store
from jaxmap.sweeps.run import score_models
from jaxmap.sweeps.settings import PLAIN


def test_a_second_stage_and_a_branch(tmp_path):
    config = tiny(stage_steps=4, seeds=1)
    run = run_demo(tmp_path, config)
    models = tmp_path / "models" / "pythia-demo-xs"
    saved = [f"{name}-step{step}" for name in ("stage2", "branch") for step in (1, 2, 3, 4)]
    assert all((models / name / "model.safetensors").is_file() for name in saved)
    timeline = Context(run.store, stages="joined").timeline
    times = {one.name: one.times.tolist() for one in timeline.runs}
    assert times["pythia-demo-xs+stage2"] == [*STEPS, 13, 14, 15, 16]
    assert times["pythia-demo-xs@branch"] == [4, 5, 6, 7, 8]
    assert times["pythia-demo-s"] == list(STEPS)
    # The branch leaves where the run was at that step, and goes elsewhere.
    branch = next(one for one in timeline.runs if one.name.endswith("branch"))
    assert branch.entries[0].label.endswith("pythia-demo-xs@step4")
    first, last = run.store.log_likelihoods([branch.entries[0], branch.entries[-1]])
    assert np.abs(first - last).max() > 0.1
    tokens = Context(run.store, stages="joined", time="tokens").timeline
    assert tokens.runs[0].times[-1] == 16 * config.rows * config.window
    for figure in run.draw().values():
        (legend,) = figure.legends
        names = [text.get_text() for text in legend.get_texts()]
        assert names == ["pythia-demo-xs+stage2", "pythia-demo-xs@branch", "pythia-demo-s"]
    drawn = {line.get_label(): line.get_xdata()[0] for line in run.draw()["learning"].axes[0].lines}
    assert drawn["pythia-demo-xs@branch"] == 4
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "a branch of as many leaves it" in page
    weights = (models / "stage2-step4" / "model.safetensors").read_bytes()
    shutil.rmtree(models / "stage2-step4")
    run_demo(tmp_path, config)  # as after a kill: the very same weights
    assert (models / "stage2-step4" / "model.safetensors").read_bytes() == weights


def test_derived_models_fill_the_rows_of_the_scale(tmp_path):
    sizes = {"xs": ModelSize(width=32, layers=1, heads=2, learning_rate=2e-2)}
    config = tiny(finetune_steps=4, steps=4, warmup=2, seeds=1, sizes=sizes)
    corpus = prepare_corpus(tmp_path, config, documents())
    train_runs(tmp_path, corpus, config)
    make_derived(tmp_path, corpus, config)
    models = tmp_path / "models"
    texts = load_texts(tmp_path / "texts.jsonl")
    store = Store.create(tmp_path / "store", texts)
    refs = [
        Ref(str(models / "pythia-demo-xs"), "step4"),
        *map(Ref, derived_models(tmp_path, config)),
    ]
    assert not score_models(refs, texts, store, PLAIN).failed
    rows = {row.setting.name: row.summary.n for row in measure_scale(Context(store)).rows}
    wanted = {"8-bit": 1, "4-bit": 1, "ft": 2, "intra-type": 2, "random": 2}
    assert {name: rows[name] for name in wanted} == wanted
    ll_N = {}
    for entry in store.records():
        (ll_N[entry.label.rpartition("/pythia-demo-xs")[2]],) = store.log_likelihoods([entry])
    released, tuned, lora = ll_N[""], ll_N["-finetuned"], ll_N["-lora"]
    np.testing.assert_array_equal(released, ll_N["@step4"])
    assert np.abs(tuned - released).max() > 0.01
    assert np.abs(lora - released).max() > 1e-4
    assert np.abs(lora - tuned).max() > 0.01
    # A GGUF is what its name says: 8 bits are near the model, 4 are further away.
    eight, four = (np.abs(ll_N[f"-{kind}.gguf"] - released).max() for kind in GGUF_TYPES)
    assert 0 < eight < four / 4
    compare_derived(tmp_path, config, store)
    with open(tmp_path / "comparison" / "compare.csv") as file:
        [row] = csv.DictReader(file)
    assert row["model"] == str(models / "pythia-demo-xs-finetuned")
    assert float(row["token_kl_nats"]) > 0
    variance = (tuned - released).var() / (2 * store.texts.mean_bytes * np.log(2))
    assert float(row["kl_bits_per_byte"]) == pytest.approx(variance, rel=1e-3)
    assert 'class="token"' in (tmp_path / "comparison" / "compare.html").read_text("utf-8")
    files = {path: path.read_bytes() for path in models.rglob("*") if path.is_file()}
    shutil.rmtree(models / "pythia-demo-xs-lora")
    make_derived(tmp_path, corpus, config)  # as after a kill: the very same files
    assert {path: path.read_bytes() for path in models.rglob("*") if path.is_file()} == files

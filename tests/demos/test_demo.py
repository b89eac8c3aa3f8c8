"""The demo: what it trains, that a kill changes nothing, that others can load its models."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import REPOSITORY, TESTS
from support.checkpoints import jaxmap

from jaxmap.analysis.context import Context
from jaxmap.analysis.learning import Learning, measure_learning
from jaxmap.analysis.runs import runs_of
from jaxmap.analysis.scale import measure_scale
from jaxmap.checkpoint.refs import Ref
from jaxmap.corpus.sources import open_source
from jaxmap.corpus.texts import TextSet, load_texts
from jaxmap.demos import settings as demo_config
from jaxmap.demos.comparison import compare_derived
from jaxmap.demos.corpus import END, prepare_corpus, split
from jaxmap.demos.derived_models import GGUF_TYPES, derived_models, make_derived
from jaxmap.demos.folders import build_folder, sole_use
from jaxmap.demos.model import init_params, leaf_name, optimiser, spec_for
from jaxmap.demos.result import OUTPUTS, DemoRun
from jaxmap.demos.run import run_demo
from jaxmap.demos.settings import DemoConfig, ModelSize
from jaxmap.demos.train import train_runs, window_starts
from jaxmap.errors import InputError, JaxmapError
from jaxmap.store import Store
from jaxmap.sweeps.run import score_models
from jaxmap.sweeps.settings import PLAIN

TINY = dict(
    texts=12,
    min_bytes=64,
    max_bytes=160,
    held_out=0.3,
    train_bytes=60_000,
    vocabulary=320,
    context=192,
    window=96,
    rows=2,
    steps=12,
    warmup=4,
    every=4,
    early=4,
    seeds=2,
    sizes={
        "xs": ModelSize(width=16, layers=1, heads=1, learning_rate=2e-2),
        "s": ModelSize(width=32, layers=2, heads=2, learning_rate=1e-2),
    },
    lens=False,
    quantize=(),
    dtypes=(),
    state_seconds=0.0,
    finetune_steps=0,
)
RUNS = ("pythia-demo-xs", "pythia-demo-xs-seed1", "pythia-demo-s")
STEPS = (0, 1, 2, 4, 8, 12)


def tiny(**changes) -> DemoConfig:
    return DemoConfig(**{**TINY, **changes})


def documents() -> list[tuple[str, str]]:
    return [(name, text[:4000]) for name, text in itertools.islice(open_source("stdlib"), 60)]


def endings(run: DemoRun) -> set[str]:
    return {outcome.ending for outcome in run.outcomes}


@pytest.fixture(scope="module")
def demo(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    assert endings(run_demo(out, tiny(), documents())) == {"done"}
    return out


def weights(out: Path) -> dict[str, bytes]:
    files = sorted((out / "models").rglob("model.safetensors"))
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


def test_checkpoints_are_pythias_then_even():
    powers = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
    assert DemoConfig().checkpoints == (*powers, *range(576, 1025, 64))
    assert DemoConfig(steps=1000, every=300).checkpoints == (*powers, 812, 1000)
    assert tiny().checkpoints == STEPS
    assert tuple(tiny().runs) == RUNS
    assert len(DemoConfig().runs) == 5


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


KILLED = """
import os, signal, sys
sys.path[:0] = {tests!r}
import test_demo, jaxmap.demos.train as train
save = train.save_state
def save_and_die(states, step, state):
    save(states, step, state)
    if step == 4 and states.name == "pythia-demo-s":
        os.kill(os.getpid(), signal.SIGKILL)
train.save_state = save_and_die
train.cores = lambda: 1
test_demo.run_demo({out!r}, test_demo.tiny(), test_demo.documents())
"""


def test_killed_and_run_again_the_weights_are_the_same_bits(demo, tmp_path):
    out = tmp_path / "out"
    code = KILLED.format(tests=[str(TESTS / "demos"), str(TESTS)], out=str(out))
    died = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=300)
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()[-2000:]
    whole = weights(demo)
    left = weights(out)
    assert 0 < len(left) < len(whole)
    assert (out / "state" / "pythia-demo-s" / "step4").is_dir()
    # What a kill in the middle of a write leaves.
    (out / "models" / "pythia-demo-s" / ".building-step8-1").mkdir()
    (out / "state" / "pythia-demo-s" / "step8.orbax-checkpoint-tmp").mkdir()
    assert endings(run_demo(out, tiny(), documents())) == {"done"}
    assert weights(out) == whole
    assert not list(out.rglob(".building-*"))


def test_goes_on_when_an_earlier_checkpoint_was_lost(demo, tmp_path):
    corpus = prepare_corpus(tmp_path, tiny(), documents())
    train_runs(tmp_path, corpus, tiny(seeds=1))
    lost = tmp_path / "models" / "pythia-demo-s" / "step4"
    kept = (lost / "model.safetensors").read_bytes()
    for path in lost.iterdir():
        path.unlink()
    lost.rmdir()
    assert train_runs(tmp_path, corpus, tiny(seeds=1))
    assert (lost / "model.safetensors").read_bytes() == kept
    assert not train_runs(tmp_path, corpus, tiny(seeds=1))


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


def test_transformers_loads_a_checkpoint_and_agrees(demo):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from jaxmap.checkpoint import weights as ours
    from jaxmap.model.decoder import nnx

    folder = demo / "models" / "pythia-demo-s" / "step12"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    text = json.loads((demo / "texts.jsonl").read_text().splitlines()[0])["text"]
    ids = tokenizer(text, return_tensors="np")["input_ids"][:, :96]
    assert ids.max() < 320
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert tokenizer.eos_token == END
    theirs = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert type(theirs).__name__ == "GPTNeoXForCausalLM"
    with torch.no_grad():
        expected = theirs(torch.tensor(ids, dtype=torch.long)).logits.numpy()
    model = ours.load(folder)
    logits = nnx.merge(model.graph, model.params).logits(jnp.asarray(ids, jnp.int32))
    np.testing.assert_allclose(np.asarray(logits), expected, atol=1e-4)
    assert np.abs(expected).max() > 0.5  # it has learnt something to agree on


def test_a_pass_takes_every_window_once_in_an_order_of_the_seed():
    config = tiny(steps=50)  # 100 windows of 96
    starts = window_starts(config, 0, 96 * 40 + 95)
    assert starts.shape == (50, 2)
    assert starts.dtype == np.int32
    flat = starts.ravel()
    assert sorted(flat[:40]) == sorted(flat[40:80]) == [96 * i for i in range(40)]
    assert not np.array_equal(flat[:40], flat[40:80])
    np.testing.assert_array_equal(window_starts(config, 0, 96 * 40 + 95), starts)
    assert not np.array_equal(window_starts(config, 1, 96 * 40 + 95), starts)


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


def test_first_weights_are_drawn_as_pythias():
    spec = spec_for(tiny(), ModelSize(width=64, layers=4, heads=4, learning_rate=1e-3))
    leaves = jax.tree_util.tree_leaves_with_path(init_params(spec, 0))
    named = {leaf_name(path): np.asarray(leaf) for path, leaf in leaves}

    def found(end: str) -> np.ndarray:
        (leaf,) = [leaf for name, leaf in named.items() if name.endswith(end)]
        return leaf

    small, back = np.sqrt(2 / (5 * 64)), 2 / (4 * np.sqrt(64))
    assert found("attn/q/kernel").std() == pytest.approx(small, rel=0.05)
    assert found("embed").std() == pytest.approx(small, rel=0.05)
    assert found("attn/o/kernel").std() == pytest.approx(back, rel=0.05)
    assert found("mlp/down/kernel").std() == pytest.approx(back, rel=0.05)
    assert (found("final_norm/scale") == 1).all()
    assert (found("mlp/up/bias") == 0).all()
    assert not np.array_equal(found("attn/q/kernel"), found("attn/k/kernel"))


def test_the_optimiser_warms_up_from_zero_and_decays_only_matrices():
    size = ModelSize(width=16, layers=1, heads=1, learning_rate=0.1)
    config = tiny(warmup=4, steps=8)
    params = jax.tree.map(jnp.ones_like, init_params(spec_for(config, size), 0))
    tx = optimiser(config, size)
    state = tx.init(params)
    zeros = jax.tree.map(jnp.zeros_like, params)
    rates = []
    for _ in range(9):
        updates, state = tx.update(zeros, state, params)
        named = {leaf_name(p): leaf for p, leaf in jax.tree_util.tree_leaves_with_path(updates)}
        assert all(not leaf.any() for name, leaf in named.items() if name.endswith("bias"))
        assert all(not leaf.any() for name, leaf in named.items() if name.endswith("scale"))
        rates.append(float(-named["head"][0, 0]) / config.weight_decay)
    # Half a cosine from step 4 to step 8, down to a tenth.
    cosine = [0.1 * (0.1 + 0.9 * (1 + np.cos(np.pi * i / 4)) / 2) for i in range(5)]
    assert rates == pytest.approx([0, 0.025, 0.05, 0.075, *cosine], abs=1e-7)


def test_the_config_file_is_the_default_and_can_be_changed():
    path = REPOSITORY / "configs" / "demo.py"
    spec = importlib.util.spec_from_file_location("demo_config_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    values = module.get_config()
    assert demo_config.from_dict(values.to_dict()) == DemoConfig()
    values.sizes.m.width = 160
    assert demo_config.from_dict(values.to_dict()).sizes["m"].width == 160
    assert "jaxmap demo" in module.__doc__


def test_the_command_takes_a_config(tmp_path, monkeypatch):
    seen = []

    def run_demo(out, config):
        seen.append(config)
        return DemoRun(
            Path(out), Store.create(tmp_path / "store", TextSet(("x",))), 1, (), Learning(())
        )

    monkeypatch.setattr("jaxmap.demos.run.run_demo", run_demo)
    path = REPOSITORY / "configs" / "demo.py"

    def run(*flags: str):
        return jaxmap("demo", f"--out={tmp_path}", *flags)

    assert run().code == 0
    assert run(f"--config={path}", "--config.steps=7", "--config.warmup=2",
               "--config.sizes.m.width=160").code == 0  # fmt: skip
    assert seen[0] is None
    sizes = {**DemoConfig().sizes, "m": replace(DemoConfig().sizes["m"], width=160)}
    assert seen[1] == DemoConfig(steps=7, warmup=2, sizes=sizes)
    for flag, told in (
        ("--config.stps=7", "unknown field 'stps'; did you mean steps?"),
        ("--config.steps=0", "steps must be at least 1"),
        ("--config.sizes.q.width=8", "unknown field 'sizes.q.width'"),
    ):
        ran = run(f"--config={path}", flag)
        assert (ran.code, told in str(ran)) == (2, True), str(ran)
    assert len(seen) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"held_out": 1.0}, "held_out must lie between"),
        ({"warmup": 13}, "warmup is longer than steps"),
        ({"window": 200}, "window is longer than context"),
        ({"quantize": ("none",)}, "quantize: 'none' is unknown; known: int8, nf4, fp4"),
        ({"finetune_steps": -1}, "finetune_steps is negative"),
        ({"dtypes": ("tf32",)}, "dtypes: 'tf32' is unknown"),
        ({"sizes": {}}, "sizes is empty"),
        ({"sizes": {"xs": ModelSize(12, 1, 1, 1e-3)}}, "sizes.xs"),
    ],
)
def test_a_config_that_cannot_be_trained_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        tiny(**changes)


def test_unknown_config_keys_are_refused():
    with pytest.raises(InputError, match="unknown step"):
        demo_config.from_dict({"step": 3})
    with pytest.raises(InputError, match="sizes"):
        demo_config.from_dict({"sizes": {"xs": {"wide": 3}}})


def test_a_folder_of_another_demo_is_refused_untouched(demo):
    before = (demo / "demo.json").read_bytes()
    with pytest.raises(InputError, match="another configuration"):
        run_demo(demo, tiny(steps=16), documents())
    assert (demo / "demo.json").read_bytes() == before
    # How often the state is kept changes no result.
    assert endings(run_demo(demo, tiny(state_seconds=9.0), documents())) == {"done"}


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        run_demo(tmp_path / "file", tiny(), documents())
    assert (tmp_path / "file").read_text() == "mine"


def test_two_demos_in_one_folder_are_refused(tmp_path):
    with (
        sole_use(tmp_path),
        pytest.raises(InputError, match="another demo is running"),
        sole_use(tmp_path),
    ):
        pass
    with sole_use(tmp_path):  # and free again afterwards
        pass


def test_a_vocabulary_below_the_bytes_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"vocabulary=100 is too small.*at least 257"):
        prepare_corpus(tmp_path, tiny(vocabulary=100), documents())
    assert not (tmp_path / "corpus").exists()


def test_a_run_that_diverges_is_named(tmp_path):
    sizes = {"xs": ModelSize(width=16, layers=1, heads=1, learning_rate=float("inf"))}
    config = tiny(sizes=sizes, seeds=1)
    corpus = prepare_corpus(tmp_path, config, documents())
    with pytest.raises(
        JaxmapError, match=r"pythia-demo-xs: the loss is nan .* lower learning_rate"
    ):
        train_runs(tmp_path, corpus, config)


def test_a_folder_that_fails_half_way_is_not_there(tmp_path):
    def fill(folder: Path) -> None:
        (folder / "first").write_text("1")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        build_folder(tmp_path / "whole", fill)
    assert list(tmp_path.iterdir()) == []


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

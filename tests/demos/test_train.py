"""Training of the demo: first weights, optimiser, order of windows; a kill changes nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import TESTS
from support.demos import documents, endings, tiny, weights

from jaxmap.demos.corpus import END, prepare_corpus
from jaxmap.demos.model import init_params, leaf_name, optimiser, spec_for
from jaxmap.demos.run import run_demo
from jaxmap.demos.settings import ModelSize
from jaxmap.demos.train import train_runs, window_starts
from jaxmap.errors import JaxmapError

KILLED = """
import os, signal, sys
sys.path[:0] = {tests!r}
from support import demos
import jaxmap.demos.run
import jaxmap.demos.train as train
save = train.save_state
def save_and_die(states, step, state):
    save(states, step, state)
    if step == 4 and states.name == "pythia-demo-s":
        os.kill(os.getpid(), signal.SIGKILL)
train.save_state = save_and_die
train.cores = lambda: 1
jaxmap.demos.run.run_demo({out!r}, demos.tiny(), demos.documents())
"""


def test_killed_and_run_again_the_weights_are_the_same_bits(demo, tmp_path):
    out = tmp_path / "out"
    code = KILLED.format(tests=[str(TESTS)], out=str(out))
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


def test_a_run_that_diverges_is_named(tmp_path):
    sizes = {"xs": ModelSize(width=16, layers=1, heads=1, learning_rate=float("inf"))}
    config = tiny(sizes=sizes, seeds=1)
    corpus = prepare_corpus(tmp_path, config, documents())
    with pytest.raises(
        JaxmapError, match=r"pythia-demo-xs: the loss is nan .* lower learning_rate"
    ):
        train_runs(tmp_path, corpus, config)

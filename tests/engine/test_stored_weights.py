"""Weights held in 16 bit, as they are stored, under float32 arithmetic: nothing is lost."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.checkpoints import LLAMA, NEOX, make_checkpoint, read_tensors, write_tensors
from support.on_devices import all_cases
from support.token_sets import make_tokens

from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.checkpoint import weights
from jaxmap.checkpoint.quantize import quantised
from jaxmap.engine.scorer import Scorer, Scorers
from jaxmap.engine.scores import compile_for, score_rows
from jaxmap.model import decoder

# What may be done with numbers of 16 bit before they are float32.
MOVES = {
    *("broadcast_in_dim", "concatenate", "dynamic_slice", "gather", "reshape", "slice", "squeeze"),
    *("transpose", "convert_element_type"),
}
TOKENS = [np.arange(3, 40, dtype=np.int32), np.arange(20, 50, dtype=np.int32)]


def computed_in_16_bit(jaxpr) -> set[str]:
    """Names of what is computed with, or rounded to, 16 bit; loops and calls are looked into."""
    found = set()
    for equation in jaxpr.eqns:
        inner = [sub for sub in jax.tree.leaves(equation.params) if hasattr(sub, "eqns")]
        inner += [sub.jaxpr for sub in jax.tree.leaves(equation.params) if hasattr(sub, "jaxpr")]
        for sub in inner:
            found |= computed_in_16_bit(sub)
        name = equation.primitive.name
        into = any(getattr(v.aval, "dtype", None) == jnp.float16 for v in equation.invars)
        out = any(getattr(v.aval, "dtype", None) == jnp.float16 for v in equation.outvars)
        if not inner and ((into and name not in MOVES) or (out and not into)):
            found.add(name)
    return found


def traced(config: dict, dtype: str):
    """The program that scores a model whose matrices are held in float16."""
    graph, shapes = decoder.abstract(spec_of(Config(config, "a test")))
    leaves = {
        path: leaf.replace(jax.ShapeDtypeStruct(leaf.shape, jnp.float16))
        if path.endswith("/kernel") or path in ("embed", "head")
        else leaf
        for path, leaf in decoder.named(shapes).items()
    }
    scorer = Scorer(graph, vocabulary_block=32, dtype=dtype)
    return scorer.trace_shape(decoder.from_named(leaves), 1, 64).jaxpr.jaxpr


TYPES = {config["model_type"]: config for config in all_cases().values()}


@pytest.mark.parametrize("model_type", TYPES)
def test_every_family_computes_in_float32(model_type):
    assert not computed_in_16_bit(traced(TYPES[model_type], "float32"))


def test_the_trace_would_show_16_bit():
    assert "dot_general" in computed_in_16_bit(traced(TYPES["gpt_neox"], "float16"))


@pytest.mark.parametrize("variant", ["none", "int8", "nf4"])
@pytest.mark.parametrize("stored", ["float16", "bfloat16"])
@pytest.mark.parametrize("config", [NEOX, LLAMA], ids=["gpt_neox", "llama"])
def test_scores_are_those_of_the_same_numbers_in_float32(config, stored, variant, tmp_path):
    half = make_checkpoint(tmp_path / "half", config, dtype=stored)
    whole = make_checkpoint(tmp_path / "whole", config)
    write_tensors(whole, {k: v.astype(np.float32) for k, v in read_tensors(half).items()})
    scores = []
    for folder in (half, whole):
        model = quantised(weights.load(folder, dtype="float32"), variant)
        scorer = Scorers().of(model)
        found = score_rows(scorer, model, make_tokens(TOKENS), lens=True, batch_tokens=64)
        scores.append(found["log_likelihood"])
    assert weights.load(half, dtype="float32").params["embed"][...].dtype == stored
    np.testing.assert_allclose(scores[0], scores[1], rtol=0, atol=2e-5)


def test_programs_are_made_before_weights_are_read(tmp_path):
    folder = make_checkpoint(tmp_path, NEOX)
    tokens, scorers = make_tokens(TOKENS), Scorers()

    with weights.opened(folder) as opened:
        empty = weights.shapes(opened, "float32")
        shapes = jax.tree.leaves(empty.params)
        assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in shapes)
        compile_for(scorers.of(empty), empty, tokens, lens=False, batch_tokens=64)
        compiled = scorers.of(empty).compilations
        model = weights.load(opened, dtype="float32")
    scorer = scorers.of(model)
    score_rows(scorer, model, tokens, batch_tokens=64)
    assert compiled == scorer.compilations
    assert compiled > 0

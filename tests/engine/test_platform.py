"""A whole model with a platform's kernels, interpreted, against the same in plain code."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu
from support.checkpoints import NEOX
from support.token_sets import make_tokens

from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.corpus.batches import batches, plan
from jaxmap.engine import readout_gpu
from jaxmap.engine.scorer import Scorer, kernels_for
from jaxmap.model import decoder
from jaxmap.model.kernels import attention_gpu, product_gpu
from jaxmap.model.mesh import Axes, make, place

NAMES = ("log_likelihood", "entropy", "top_token")
SHAPE = dict(hidden_size=128, num_attention_heads=2, intermediate_size=256, vocab_size=300)


def made(**more):
    """A spec and parameters of which all are random, biases and norms too."""
    spec = spec_of(Config({**NEOX, **SHAPE, "num_hidden_layers": 2, **more}, "test"))
    graph, shapes = decoder.abstract(spec)
    random = np.random.default_rng(0)
    leaves = {
        path: leaf.replace(
            jnp.asarray(random.normal(path.endswith("scale"), 0.15, leaf.shape), leaf.dtype)
        )
        for path, leaf in decoder.named(shapes).items()
    }
    return spec, graph, decoder.from_named(leaves)


def test_the_tpu_kernels_change_no_score():
    spec, graph, params = made()
    random = np.random.default_rng(4)
    lengths = random.integers(2, 100, 6)
    tokens = make_tokens([random.integers(0, 300, n).astype(np.int32) for n in lengths])
    [batch] = batches(tokens, plan(tokens, batch_tokens=512))
    mesh = make(Axes(), jax.devices()[:1])
    placed = place(params, spec, mesh)

    def scored(**options):
        scorer = Scorer(graph, mesh=mesh, **options)
        return scorer.score_batch(placed, batch, lens=True, statistics=NAMES)

    expected = scored(**kernels_for("cpu"))
    with pltpu.force_tpu_interpret_mode():
        found = scored(**kernels_for("tpu"))
    here = batch.segment_BT > 0
    for name in NAMES[:2]:
        error = np.abs(np.asarray(found[name]) - np.asarray(expected[name]))[:, here]
        assert error.max() < 2e-5
        assert np.ptp(np.asarray(expected[name])[:, here]) > 1
    np.testing.assert_array_equal(
        np.asarray(found["top_token"])[:, here], np.asarray(expected["top_token"])[:, here]
    )


@pytest.mark.parametrize("parallel", [True, False], ids=["parallel", "one after the other"])
def test_the_gpu_kernels_change_no_score(parallel, monkeypatch):
    spec, graph, params = made(use_parallel_residual=parallel)
    random = np.random.default_rng(4)
    lengths = random.integers(2, 100, 6)
    tokens = make_tokens([random.integers(0, 300, n).astype(np.int32) for n in lengths])
    [batch] = batches(tokens, plan(tokens, batch_tokens=512))
    mesh = make(Axes(), jax.devices()[:1])
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), params)
    ran, streams, multiply = [], [], product_gpu.multiply
    for module, name in [
        (attention_gpu, "attend"),
        (product_gpu, "multiply"),
        (readout_gpu, "scan"),
    ]:
        kernel = getattr(module, name)

        def interpreted(*args, kernel=kernel, **options):
            ran.append(kernel.__name__)
            streams.append(kernel is multiply and args[4] is not None)
            return kernel(*args, **{**options, "interpret": True})

        monkeypatch.setattr(module, name, interpreted)

    def scored(params, **options):
        scorer = Scorer(graph, mesh=mesh, **options)
        return scorer.score_batch(place(params, spec, mesh), batch, statistics=NAMES)

    expected = scored(
        jax.tree.map(lambda leaf: leaf.astype(jnp.float32), half), **kernels_for("cpu")
    )
    found = scored(half, dtype="float16", **kernels_for("gpu"))
    # Queries, keys, values and attention's output; the way up. The way down is one of these sizes.
    assert {name: ran.count(name) for name in set(ran)} == {"attend": 1, "multiply": 6, "scan": 1}
    assert sum(streams) == 2  # the outputs of attention and MLP are added in their products
    here = batch.segment_BT > 0
    for name in NAMES[:2]:
        error = np.abs(np.asarray(found[name]) - np.asarray(expected[name]))[:, here]
        assert error.max() < 0.02
        assert np.ptp(np.asarray(expected[name])[:, here]) > 1
    same = np.asarray(found["top_token"]) == np.asarray(expected["top_token"])
    assert same[:, here].mean() > 0.95

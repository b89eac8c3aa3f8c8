"""The readout's kernels, run by Pallas's interpreter, against the plain scan."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmap.engine import readout_gpu, readout_tpu
from jaxmap.engine.readout import read
from jaxmap.engine.unembedding import Unembedding
from jaxmap.model.layers.linear import computing_in
from jaxmap.model.layers.logits import LogitAdjustment

pytestmark = pytest.mark.usefixtures("strict")  # neither dtypes nor ranks are promoted

NAMES = ("log_likelihood", "entropy", "target_rank", "top_token")
CASES = {
    # N, E, V, tokens of them, dtype of states, of the head, arithmetic, adjustment
    "no multiple of a tile": (128, 128, 700, None, "float32", "float32", "float32", None),
    "rows that are no tokens, bias, cap": (
        *(256, 128, 1000, 777, "float32", "float32", "float32"),
        LogitAdjustment(0.5, 20.0),
    ),
    "three passes of a float16 head": (
        *(128, 128, 600, None, "float32", "float16", "bfloat16_3x"),
        None,
    ),
    "bfloat16": (128, 256, 1024, None, "bfloat16", "bfloat16", "bfloat16", None),
}


ON_GPU = {
    "no multiple of a tile": (128, 128, 700, None, "float16", None),
    "several parts, rows that are no tokens, bias, scale": (
        *(256, 64, 1000, 777, "bfloat16"),
        LogitAdjustment(0.5),
    ),
    "a last part of padding alone": (128, 64, 640, 130, "float16", None),
    "bias, scale, cap": (128, 64, 700, None, "float16", LogitAdjustment(4.0, 8.0)),
}


def compare(platform, N, E, V, size, dtypes, how, adjust):
    """The statistics by the platform's kernel and by the plain scan."""
    module = {"tpu": readout_tpu, "gpu": readout_gpu}[platform]
    random = np.random.default_rng(2)
    hidden_NE = jnp.asarray(random.normal(0, 1, (N, E)), dtypes[0])
    head_VE = jnp.asarray(random.normal(0, 0.2, (V, E)), dtypes[1])
    bias_V = None if adjust is None else jnp.asarray(random.normal(0, 1, V), "float32")
    unembedding = Unembedding(head_VE, bias_V, adjust or LogitAdjustment(), size)
    target_N = jnp.asarray(random.integers(0, size or V, N), jnp.int32)
    assert module.supported(hidden_NE, unembedding, ("centred", "above", "top"))

    def run(**kernel):
        def traced(hidden_NE, unembedding, target_N):
            with computing_in(how):
                return read(hidden_NE, unembedding, target_N, NAMES, block=300, **kernel)

        return jax.jit(traced)(hidden_NE, unembedding, target_N)

    found, expected = run(platform=platform, interpret=True), run()
    for statistic in NAMES[:2]:
        np.testing.assert_allclose(found[statistic], expected[statistic], rtol=0, atol=1e-5)
        assert np.ptp(expected[statistic]) > 0.1
    np.testing.assert_array_equal(found["top_token"], expected["top_token"])
    # Logits that two orders of summing make equal or not may count either way.
    assert np.abs(found["target_rank"] - expected["target_rank"]).max() <= (how != "float32")


@pytest.mark.parametrize("name", CASES)
def test_the_tpu_kernel_agrees_with_the_plain_scan(name):
    N, E, V, size, dtype, head_dtype, how, adjust = CASES[name]
    compare("tpu", N, E, V, size, (dtype, head_dtype), how, adjust)


@pytest.mark.parametrize("programs", [1, 1024], ids=["one part", "many parts"])
@pytest.mark.parametrize("name", ON_GPU)
def test_the_gpu_kernel_agrees_with_the_plain_scan(name, programs, monkeypatch):
    monkeypatch.setattr(readout_gpu, "_PROGRAMS", programs)
    N, E, V, size, dtype, adjust = ON_GPU[name]
    compare("gpu", N, E, V, size, (dtype, dtype), dtype, adjust)


def test_what_the_gpu_kernel_leaves_to_the_plain_scan():
    def supported(N=128, E=128, V=700, dtype="float16", accumulators=(), **adjust):
        hidden_NE, head_VE = jnp.zeros((N, E), dtype), jnp.zeros((V, E), dtype)
        unembedding = Unembedding(head_VE, None, LogitAdjustment(**adjust))
        return readout_gpu.supported(hidden_NE, unembedding, accumulators)

    assert supported()
    assert not supported(dtype="float32")
    assert not supported(N=100)
    assert not supported(E=96)
    assert not supported(V=100)
    assert supported(softcap=30.0)
    assert not supported(accumulators=("likeliest",))

"""The kernels that compare two models, run by Pallas's interpreter.

They are compared with the plain scan, and with NumPy float64.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.on_devices import here
from support.statistics import log_softmax_64, oracle

from jaxmap.engine import paired_readout_gpu, paired_readout_tpu, paired_sums
from jaxmap.engine.readout import read
from jaxmap.engine.statistics import STATISTICS
from jaxmap.engine.unembedding import Reference, Unembedding
from jaxmap.model.layers.linear import computing_in
from jaxmap.model.layers.logits import LogitAdjustment

pytestmark = pytest.mark.usefixtures("strict")  # neither dtypes nor ranks are promoted

N = 128
MODULES = {"tpu": paired_readout_tpu, "gpu": paired_readout_gpu}
EVERY = (*paired_sums.SUMS, *paired_sums.LISTS)
# By platform: arithmetic, and of the model and the reference channels, rows, tokens of them, dtypes
# of states and head, adjustment with a bias (None: neither).
CASES = {
    "tpu, one vocabulary": (
        "tpu",
        "float32",
        (128, 700, None, "float32", "float32", None),
        (128, 700, None, "float32", "float32", None),
    ),
    "tpu, the model has more tokens, padding, bias and cap": (
        "tpu",
        "float32",
        (128, 1200, 1111, "float32", "float32", LogitAdjustment(0.5, 20.0)),
        (256, 600, 597, "float32", "float32", None),
    ),
    "tpu, the reference has more tokens, float16 heads in three passes": (
        "tpu",
        "bfloat16_3x",
        (256, 530, None, "float32", "float16", None),
        (128, 1030, None, "float32", "bfloat16", LogitAdjustment(2.0)),
    ),
    "tpu, bfloat16 beside float32": (
        "tpu",
        "bfloat16",
        (128, 640, 601, "bfloat16", "bfloat16", None),
        (128, 640, 601, "float32", "float32", LogitAdjustment(1.0, 30.0)),
    ),
    "gpu, one vocabulary": (
        "gpu",
        "float16",
        (128, 700, None, "float16", "float16", None),
        (128, 700, None, "float16", "float16", None),
    ),
    "gpu, the model has more tokens, padding, bias and cap": (
        "gpu",
        "bfloat16",
        (64, 600, 555, "bfloat16", "bfloat16", LogitAdjustment(0.5, 20.0)),
        (128, 300, 297, "float16", "float16", None),
    ),
    "gpu, the reference has more tokens": (
        "gpu",
        "float16",
        (64, 139, None, "float16", "float16", None),
        (64, 700, 690, "float16", "float16", LogitAdjustment(2.0)),
    ),
}


def drawn(side, seed):
    """States, an unembedding, and all logits of its tokens in float64."""
    E, V, size, dtype, head_dtype, adjust = side
    random = np.random.default_rng(seed)

    def sixteenths(scale, *shape):
        """Numbers whose products have no rounding, so that logits are equal or far apart."""
        return np.round(16 * scale * random.normal(0, 1, shape)) / 16

    hidden_NE = jnp.asarray(np.round(sixteenths(2.0, N, E)), dtype)
    head_VE = jnp.asarray(sixteenths(0.12, V, E), head_dtype)
    # Equal rows: of equal logits the first token counts.
    head_VE = head_VE.at[V // 3 : V // 3 + 8].set(head_VE[:1])
    bias_V = None if adjust is None else jnp.asarray(sixteenths(1.0, V), jnp.float32)
    logits_NV = np.asarray(hidden_NE, np.float64) @ np.asarray(head_VE, np.float64).T
    if adjust is not None:
        assert bias_V is not None
        logits_NV = (logits_NV + np.asarray(bias_V, np.float64)) * adjust.scale
        if adjust.softcap:
            logits_NV = adjust.softcap * np.tanh(logits_NV / adjust.softcap)
    head = Unembedding(head_VE, bias_V, adjust or LogitAdjustment(), size)
    return hidden_NE, head, logits_NV[:, : size or V]


@pytest.mark.parametrize("name", CASES)
def test_a_kernel_agrees_with_the_plain_scan_and_float64(name, monkeypatch):
    # Two parts of the vocabulary, of several tiles each.
    monkeypatch.setattr(paired_readout_gpu, "_PROGRAMS", 2)
    platform, how, *sides = CASES[name]
    (hidden_NE, head, logits_NV), (states, other, others_NV) = map(drawn, sides, (2, 3))
    random = np.random.default_rng(4)
    common = min(logits_NV.shape[1], others_NV.shape[1])
    target_N = random.integers(0, common, N).astype(np.int32)
    target_N[::4] = logits_NV[::4, :common].argmax(-1)
    rows = max(side[1] for side in sides)
    heads = head.of_rows(rows), Reference(states, other.of_rows(rows))
    assert MODULES[platform].supported(hidden_NE, *heads, EVERY)

    def run(**kernel):
        def traced(hidden_NE, head, reference, target_N):
            with computing_in(how):
                return read(
                    hidden_NE, head, target_N, STATISTICS, block=300, reference=reference, **kernel
                )

        return jax.jit(traced)(hidden_NE, head, Reference(states, other), jnp.asarray(target_N))

    scans, by_kernel = [], MODULES[platform].scan
    monkeypatch.setattr(
        MODULES[platform], "scan", lambda *a, **k: scans.append(1) or by_kernel(*a, **k)
    )
    found, plain = run(platform=platform, interpret=True), run()
    assert scans == [1]
    exact = oracle(log_softmax_64(logits_NV), target_N, log_softmax_64(others_NV))
    for statistic in STATISTICS.values():
        ours, theirs = np.asarray(found[statistic.name]), np.asarray(plain[statistic.name])
        assert ours.dtype == theirs.dtype
        if statistic.dtype == "float32":
            np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5, err_msg=statistic.name)
            np.testing.assert_allclose(
                ours, exact[statistic.name], rtol=5e-5, atol=5e-5, err_msg=statistic.name
            )
        elif statistic.name == "target_rank":
            # A cap's two formulas differ by rounding, and so may what equals the target's logit.
            higher_NV = logits_NV - logits_NV[np.arange(N), target_N][:, None]
            least_N, most_N = ((higher_NV > by).sum(-1) for by in (1e-4, -1e-4))
            assert np.all((ours > least_N) & (ours <= most_N))
        else:
            np.testing.assert_array_equal(ours, theirs, err_msg=statistic.name)
    assert exact["token_kl"].min() > 0.05
    assert np.ptp(exact["same_top_5"]) > 0
    assert 0 < exact["top_is_target"].sum() < N


def test_what_the_kernels_leave_to_the_plain_scan():
    def supported(platform, dtype="float16", E=128, rows=128, accumulators=EVERY):
        states, head_VE = jnp.zeros((rows, E), dtype), jnp.zeros((700, E), dtype)
        reference = Reference(jnp.zeros((rows, 128), dtype), Unembedding(head_VE[:, :128]))
        return MODULES[platform].supported(states, Unembedding(head_VE), reference, accumulators)

    assert supported("gpu")
    assert supported("gpu", "bfloat16")
    assert not supported("gpu", "float32")
    assert not supported("gpu", E=144)
    assert supported("tpu", "bfloat16")
    assert supported("tpu", "float32", E=4096)
    assert not supported("tpu", "float16")
    assert not supported("tpu", "float32", E=65536)
    for platform in MODULES:
        assert not supported(platform, "bfloat16", rows=100)
        assert not supported(platform, "bfloat16", accumulators=("variance",))


def test_a_vocabulary_cut_over_devices():
    found = here("paired_readout", sorted(MODULES), 4, devices=4)
    assert len(found) == len(MODULES) * len(STATISTICS)
    for platform, name, worst in found:
        bound = 2e-5 if STATISTICS[name].dtype == "float32" else 0
        assert worst <= bound, (platform, name)

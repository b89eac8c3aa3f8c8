from __future__ import annotations

import math
import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmap.stats import divergence, moments
from jaxmap.stats.bootstrap import bootstrap_pairs, bootstrap_shares
from jaxmap.stats.divergence import Divergence, kl_KK, kl_pairs
from jaxmap.stats.moments import tile_moments

B = 972.3188


def kl_oracle(a_N, b_N, mean_bytes):
    d_N = np.asarray(a_N, np.float64) - np.asarray(b_N, np.float64)
    return np.var(d_N) / (2 * mean_bytes * math.log(2))


def se_oracle(a_N, b_N, mean_bytes):
    d_N = np.asarray(a_N, np.float64) - np.asarray(b_N, np.float64)
    m2, m4 = (np.mean((d_N - d_N.mean()) ** power) for power in (2, 4))
    return math.sqrt((m4 - m2**2) / len(d_N)) / (2 * mean_bytes * math.log(2))


def vectors(num_models=5, num_texts=700, seed=0):
    rng = np.random.default_rng(seed)
    return -1000 + 100 * rng.standard_t(6, size=(num_models, num_texts))


def test_against_the_definition():
    ll_KN = vectors()
    kl, error = kl_KK(ll_KN, B)
    for i in range(5):
        for j in range(5):
            assert kl[i, j] == pytest.approx(kl_oracle(ll_KN[i], ll_KN[j], B), rel=1e-12)
            assert error[i, j] == pytest.approx(se_oracle(ll_KN[i], ll_KN[j], B), rel=1e-9)


def test_a_case_by_hand():
    kl, error = kl_pairs(np.array([[0.0, 0.0, 0.0, 0.0], [1.0, -1.0, 3.0, -3.0]]), [(0, 1)], 10.0)
    # m2 = (1 + 1 + 9 + 9) / 4 = 5, m4 = (1 + 1 + 81 + 81) / 4 = 41
    assert kl[0] == pytest.approx(5 / (20 * math.log(2)))
    assert error[0] == pytest.approx(math.sqrt((41 - 25) / 4) / (20 * math.log(2)))


@pytest.mark.parametrize("method", ["products", "differences"])
@pytest.mark.parametrize("tile", [1, 2, 3, 100])
def test_tiles_change_nothing(tile, method):
    ll_KN = vectors()
    whole = kl_KK(ll_KN, B)
    done = []
    tiled = kl_KK(ll_KN, B, tile=tile, method=method, update=done.append)
    assert sum(done) == 10
    for one, other in zip(tiled, whole, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9)
        np.testing.assert_array_equal(one, one.T)
        np.testing.assert_array_equal(np.diag(one), 0)


def test_into_memory_maps(tmp_path):
    ll_KN = vectors(7)
    np.save(tmp_path / "ll.npy", ll_KN)
    out = Divergence(*(
        np.lib.format.open_memmap(tmp_path / name, "w+", np.float64, (7, 7))
        for name in ("kl.npy", "error.npy")
    ))  # fmt: skip
    kl_KK(np.load(tmp_path / "ll.npy", mmap_mode="r"), B, tile=3, out=out)
    for one in out:
        one.flush()
    expected = kl_KK(ll_KN, B)
    np.testing.assert_allclose(np.load(tmp_path / "kl.npy"), expected.kl, rtol=1e-12)
    np.testing.assert_allclose(np.load(tmp_path / "error.npy"), expected[1], rtol=1e-9)


SPREAD = """
import sys
import numpy as np
import jax
from jax.sharding import AxisType

from jaxmap.stats.divergence import kl_KK, kl_pairs
from jaxmap.stats.moments import local_mesh, spread_tile

assert len(jax.local_devices()) == 8
ll_KN = np.load(sys.argv[1])
rows = jax.make_mesh((3,), ("rows",), (AxisType.Auto,), devices=jax.devices()[:3])
for mesh in (None, rows):
    found = kl_KK(ll_KN, 972.3188, tile=7, method="differences", mesh=mesh)
    pairs = kl_pairs(ll_KN, np.array([(0, 1), (18, 3), (5, 5)]), 972.3188, mesh)
    np.savez(f"{sys.argv[2]}{'' if mesh is None else 3}.npz", *found, *pairs)
q_AN = jax.device_put(
    ll_KN[:16].astype("float32"),
    jax.sharding.NamedSharding(local_mesh(), jax.sharding.PartitionSpec("rows")),
)
m2_AB, _ = spread_tile(q_AN, ll_KN.astype("float32"), mesh=local_mesh())
assert len({shard.device for shard in m2_AB.addressable_shards}) == 8
assert {shard.data.shape for shard in m2_AB.addressable_shards} == {(2, 19)}
"""


def test_rows_of_tiles_are_spread_over_devices(tmp_path):
    """Eight devices, or three, give what one gives; numbers of rows need not divide."""
    ll_KN = vectors(19, 300)
    np.save(tmp_path / "ll.npy", ll_KN)
    flags = "--xla_force_host_platform_device_count=8"
    subprocess.run(
        [sys.executable, "-c", SPREAD, tmp_path / "ll.npy", tmp_path / "found"],
        check=True, env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip
    expected = (*kl_KK(ll_KN, B), *kl_pairs(ll_KN, [(0, 1), (18, 3), (5, 5)], B))
    for name in ("found.npz", "found3.npz"):
        with np.load(tmp_path / name) as found:
            for one, other in zip(found.values(), expected, strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-15)


def test_without_errors():
    whole = kl_KK(vectors(), B)
    bare = kl_KK(vectors(), B, errors=False, tile=2)
    np.testing.assert_allclose(bare.kl, whole.kl, rtol=1e-12)
    assert bare.standard_error.size == 0


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(2, 6),
    st.sampled_from([1, 2, 3, 40]),  # each size is compiled anew
    st.floats(-1e4, 1e4),
)
def test_properties(seed, num_models, num_texts, shift):
    rng = np.random.default_rng(seed)
    ll_KN = vectors(num_models, num_texts, seed)
    kl, error = kl_KK(ll_KN, B)
    assert (kl >= 0).all()
    assert (error >= 0).all()
    for matrix in (kl, error):
        np.testing.assert_array_equal(matrix, matrix.T)
        np.testing.assert_array_equal(np.diag(matrix), 0)
    # m4 - m2^2 of two texts is zero, and what rounding leaves of it has a root.
    loose = 1e-6 * kl.max() + 1e-9
    moved = kl_KK(ll_KN + shift * rng.normal(size=(num_models, 1)), B)
    permuted = kl_KK(ll_KN[:, rng.permutation(num_texts)], B)
    for other in (moved, permuted):
        np.testing.assert_allclose(other.kl, kl, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(other.standard_error, error, rtol=1e-7, atol=loose)
    np.testing.assert_allclose(kl_KK(ll_KN, 2 * B).kl, kl / 2, rtol=1e-12)
    np.testing.assert_allclose(kl_KK(2 * ll_KN, B).standard_error, 4 * error, rtol=1e-9, atol=loose)


def test_neighbours_far_from_the_origin_are_resolved():
    """A Gram matrix would lose these digits: the norms are 1e14 times the distance."""
    rng = np.random.default_rng(1)
    base_N = -1e4 * rng.random(2000) - 1e4
    step_N = rng.normal(size=2000) * 1e-3
    kl, _ = kl_pairs(np.stack([base_N, base_N + step_N]), [(0, 1)], B)
    assert kl[0] == pytest.approx(np.var(step_N) / (2 * B * math.log(2)), rel=1e-6)


def test_float32_input_is_computed_in_float64():
    ll_KN = vectors().astype(np.float32)
    expected = kl_KK(ll_KN.astype(np.float64), B)
    np.testing.assert_array_equal(kl_KK(ll_KN, B).kl, expected.kl)


@pytest.mark.parametrize("precision", ["bfloat16", "tensorfloat32", "float32"])
def test_near_identical_models_in_float32_whatever_the_matmul_precision(precision):
    """KL of 1e-3 bits per byte where the squared norms are 1e5 times larger."""
    rng = np.random.default_rng(4)
    far = math.sqrt(1e5 * 1e-3 * 2 * B * math.log(2))  # of l about its mean, nats
    near = math.sqrt(1e-3 * 2 * B * math.log(2))
    base_KN = far * rng.standard_t(6, size=(4, 3000)) - 1000
    ll_KN = np.concatenate([base_KN, base_KN + near * rng.normal(size=base_KN.shape)])
    exact = np.array([kl_oracle(ll_KN[k], ll_KN[k + 4], B) for k in range(4)])
    assert exact == pytest.approx(1e-3, rel=0.1)
    q_KN = ll_KN - ll_KN.mean(axis=1, keepdims=True)
    q_KN = (q_KN - q_KN.mean(axis=0)).astype(np.float32)
    with jax.default_matmul_precision(precision):
        m2_AB, spread_AB = tile_moments(q_KN[:4], q_KN[4:])
        found, _ = kl_KK(ll_KN, B)
    assert m2_AB.dtype == np.float32
    kl = np.diag(m2_AB) / (2 * B * math.log(2))
    np.testing.assert_allclose(kl, exact, rtol=1e-4)
    error = np.sqrt(np.diag(spread_AB) / 3000) / (2 * B * math.log(2))
    expected = [se_oracle(ll_KN[k], ll_KN[k + 4], B) for k in range(4)]
    np.testing.assert_allclose(error, expected, rtol=1e-4)
    np.testing.assert_allclose(found[range(4), range(4, 8)], exact, rtol=1e-10)


def test_close_pairs_are_taken_from_differences(monkeypatch):
    """Without that step the product's error would show."""
    rng = np.random.default_rng(5)
    base_N = 100 * rng.normal(size=2000)
    ll_KN = base_N + 1e-5 * rng.normal(size=(3, 2000))
    ll_KN = np.concatenate([ll_KN, 100 * rng.normal(size=(3, 2000))])
    exact = kl_oracle(ll_KN[0], ll_KN[1], B)
    found = kl_KK(ll_KN, B)
    assert found.kl[0, 1] == pytest.approx(exact, rel=1e-6, abs=0)
    for matrix in found:
        np.testing.assert_array_equal(matrix, matrix.T)
    monkeypatch.setattr(moments, "NEAR", 0.0)
    assert kl_KK(ll_KN, B).kl[0, 1] != pytest.approx(exact, rel=1e-6, abs=0)


def test_a_device_without_float64(monkeypatch):
    monkeypatch.setattr(divergence, "has_float64", lambda: False)
    monkeypatch.setattr("jaxmap.stats.float64.has_float64", lambda: False)
    ll_KN = vectors(4, 500)
    ll_KN[1] = ll_KN[0] + np.random.default_rng(6).normal(size=500)
    expected = kl_oracle(ll_KN[0], ll_KN[1], B)
    assert kl_pairs(ll_KN, [(0, 1)], B).kl[0] == pytest.approx(expected, rel=1e-4)
    found = kl_KK(ll_KN, B, method="differences").kl
    assert found[0, 1] == pytest.approx(expected, rel=1e-4)
    assert found[0, 1] != expected  # it was float32


def test_bootstrap_against_the_definition():
    ll_KN = vectors(4, 300)
    pairs = np.array([(0, 1), (2, 0), (3, 1)])
    share_RN = bootstrap_shares(300, 20, seed=7)
    rng = np.random.default_rng(7)
    found = bootstrap_pairs(ll_KN, pairs, share_RN, B)
    for r in range(20):
        drawn = rng.integers(0, 300, 300)
        for p, (i, j) in enumerate(pairs):
            expected = kl_oracle(ll_KN[i, drawn], ll_KN[j, drawn], B)
            assert found[p, r] == pytest.approx(expected, rel=1e-9)


def test_standard_error_against_the_bootstrap():
    ll_KN = vectors(2, 3000)
    kl, error = kl_pairs(ll_KN, [(0, 1)], B)
    draws = bootstrap_pairs(ll_KN, [(0, 1)], bootstrap_shares(3000, 1500), B)[0]
    # The spread of 1,500 draws is itself uncertain by 1 / sqrt(2 * 1500) = 1.8 %.
    assert error[0] == pytest.approx(np.std(draws), rel=0.08)
    assert np.mean(draws) == pytest.approx(kl[0], rel=0.01)


def test_standard_error_covers_the_truth():
    """Of intervals of two standard errors about the estimate, 95 % hold the true value."""
    rng = np.random.default_rng(3)
    inside = 0
    for _ in range(400):
        kl, error = kl_pairs(np.stack([np.zeros(800), rng.normal(size=800)]), [(0, 1)], B)
        inside += abs(kl[0] - 1 / (2 * B * math.log(2))) < 2 * error[0]
    assert 0.91 < inside / 400 < 0.985


def test_no_pairs():
    kl, error = kl_pairs(vectors(), np.empty((0, 2), int), B)
    assert kl.shape == error.shape == (0,)

from __future__ import annotations

import numpy as np

from jaxmap.stats.bits_per_byte import bits_per_byte


def test_bits_per_byte_is_the_definition_and_its_error_that_of_a_bootstrap():
    rng = np.random.default_rng(0)
    bytes_N = rng.integers(100, 1000, 400)
    ll_KN = -(bytes_N * rng.uniform(0.5, 2, (3, 1)) + rng.normal(0, 60, (3, 400)))
    bits_K, error_K = bits_per_byte(ll_KN, bytes_N)
    np.testing.assert_allclose(bits_K, -ll_KN.sum(1) / np.log(2) / bytes_N.sum(), rtol=1e-12)
    drawn_BN = rng.integers(0, 400, (4000, 400))
    boot_KB = -ll_KN[:, drawn_BN].sum(-1) / np.log(2) / bytes_N[drawn_BN].sum(-1)
    np.testing.assert_allclose(error_K, boot_KB.std(1), rtol=0.08)

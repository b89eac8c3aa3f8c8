from __future__ import annotations

import math

import numpy as np
import pytest

from jaxmap.stats.centre import coordinates
from jaxmap.stats.divergence import kl_pairs
from jaxmap.stats.units import variance_per_kl


def test_nats_squared_to_bits_per_byte():
    # Half a variance is a KL in nats a text: 8 nats squared are 4 nats, here of 500 bytes.
    assert 8.0 / variance_per_kl(500.0) == pytest.approx(4.0 / math.log(2.0) / 500.0, rel=1e-15)


def test_every_kl_is_in_the_same_unit():
    ll_KN = np.random.default_rng(0).normal(size=(2, 40))
    kl, _ = kl_pairs(ll_KN, np.array([[0, 1]]), 70.0)
    x_KN = coordinates(ll_KN, 70.0)
    # Distances between coordinates leave out what is common to all texts, as a variance does.
    assert kl[0] == pytest.approx(np.var(ll_KN[0] - ll_KN[1]) / variance_per_kl(70.0), rel=1e-12)
    assert ((x_KN[0] - x_KN[1]) ** 2).sum() == pytest.approx(kl[0], rel=1e-12)

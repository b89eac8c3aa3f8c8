"""Layers, mixers and kernels promote no dtype in silence: it is an error here.

Ranks they may: a scale or bias of [C] is applied to [..., C].
"""

import jax
import pytest


@pytest.fixture(autouse=True)
def strict_dtypes():
    """Every test of the package that computes in this process runs so."""
    with jax.numpy_dtype_promotion("strict"):
        yield

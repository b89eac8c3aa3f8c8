"""The kernels of this package promote no dtype and no rank in silence: it is an error here."""

import pytest


@pytest.fixture(autouse=True)
def strict_promotion(strict):
    """Every test of the package runs so."""

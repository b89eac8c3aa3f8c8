from __future__ import annotations

import numpy as np
import pytest

from jaxmap.analysis.kl import KlTable
from jaxmap.figures import kl_matrix
from jaxmap.figures.figure import svg_of
from jaxmap.figures.names import short_names

LONG = "/a/long/way/to/the/folder/with/models"


@pytest.mark.parametrize(
    ("names", "short"),
    [
        ([], []),
        (["org/m1", "org/m2"], ["org/m1", "org/m2"]),
        ([f"{LONG}/m1", f"{LONG}/m2@step3"], ["m1", "m2@step3"]),
        ([f"{LONG}/x/m", f"{LONG}/y/m"], ["x/m", "y/m"]),
        ([f"{LONG}/m", f"{LONG}/m/m-Q8_0.gguf"], ["m", "m/m-Q8_0.gguf"]),
        (["a" * 40 + "1", "a" * 40 + "2"], ["a" * 11 + "…" + "a" * 21 + n for n in "12"]),
    ],
)
def test_what_all_names_share_is_left_out_of_long_ones(names, short):
    assert short_names(names) == short


def test_names_stay_different():
    names = [f"org/{'a' * 20}{n}{'b' * 60}" for n in range(10)]
    assert len(set(short_names(names))) == 10


def test_a_square_of_long_names_has_room():
    names = tuple(f"{LONG}/{'model-with-a-name-' * 3}{n}" for n in range(4))
    pairs_P2 = np.stack(np.triu_indices(4, k=1), axis=1)
    table = KlTable(names, pairs_P2, np.full(6, 0.1), np.zeros(6))
    assert "model" in svg_of(kl_matrix.draw(table))  # warnings are errors

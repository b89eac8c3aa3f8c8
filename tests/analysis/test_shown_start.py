"""From which checkpoint the distances of a diffusion figure are drawn."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from jaxmap.analysis.diffusion import shown_start_of
from jaxmap.analysis.pythia import SHOWN_START


def curve(starts: list[int], last: int) -> SimpleNamespace:
    trajectory = SimpleNamespace(steps=np.array([0, last]))
    return SimpleNamespace(starts=np.array(starts, int), trajectory=trajectory)


@pytest.mark.parametrize(
    ("curves", "expected"),
    [
        ([curve([128, 512, 704], 1024)] * 2 + [curve([128, 512, 704, 960], 1152)], 704),
        ([curve([1000, SHOWN_START], 143_000), curve([1000], 3000)], SHOWN_START),
        ([curve([128, 1000], 1024)], 128),
        ([curve([1000], 1024)], 1000),
        ([curve([], 1024)], SHOWN_START),
    ],
    ids=["the last that most have", "as published", "not at the end", "the only one", "none"],
)
def test_the_shown_start(curves, expected):
    assert shown_start_of(curves) == expected

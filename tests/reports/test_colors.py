"""Colours of runs: no two alike, on white and on dark paper."""

from __future__ import annotations

import itertools
import re

import numpy as np
import pytest

from jaxmap.figures.style import PALETTE
from jaxmap.reports.css import CSS
from jaxmap.reports.interactive import FURTHER


def lab(color: str) -> np.ndarray:
    """CIE 1976 L*a*b* of an sRGB colour under the white point D65."""
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ linear / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_two_runs_have_colors_that_are_alike(scheme):
    dark = CSS.index("prefers-color-scheme: dark")
    part = CSS[dark:] if scheme == "dark" else CSS[:dark]
    blue, sixth, paper = (
        re.search(rf"--{name}: (#[0-9a-f]{{6}})", part)[1] for name in ("blue", "sixth", "paper")
    )
    colors = [blue, *PALETTE[1:-1], sixth, *FURTHER, paper]
    assert len(colors) == 13
    for one, other in itertools.combinations(colors, 2):
        assert np.linalg.norm(lab(one) - lab(other)) > 25, (one, other)

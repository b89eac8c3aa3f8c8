"""Slopes of ALiBi against the paper's rule, worked out by hand."""

from __future__ import annotations

import pytest

from jaxmap.model.layers.alibi import slopes

# 2^(-8/n), 2^(-16/n), ...; beyond the last power of two, every other one of twice as many.
PAPER = {
    1: [2**-8],
    2: [2**-4, 2**-8],
    4: [2**-2, 2**-4, 2**-6, 2**-8],
    8: [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256],
    3: [2**-4, 2**-8, 2**-2],
    6: [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3],
}


def of_mpt(heads):
    """MPT's order, as its own code has it: the even ones of the next power of two come first."""
    n = 1
    while n < heads:
        n *= 2
    every = [2 ** (-8 * (i + 1) / n) for i in range(n)]
    return (every[1::2] + every[::2])[:heads] if n != heads else every


@pytest.mark.parametrize("heads", PAPER)
def test_few_heads(heads):
    assert slopes(heads).slopes == pytest.approx(PAPER[heads], rel=1e-7)


@pytest.mark.parametrize("heads", [5, 7, 12, 16, 20, 32, 40, 71, 112])
def test_many_heads(heads):
    found = slopes(heads).slopes
    assert len(set(found)) == heads
    assert found == pytest.approx(of_mpt(heads), rel=1e-6)
    assert max(found) <= 1
    assert min(found) == pytest.approx(2**-8, rel=1e-6)

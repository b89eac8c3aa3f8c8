from __future__ import annotations

import numpy as np
import pytest

from jaxmap.analysis.kl import KlTable
from jaxmap.figures import kl_matrix, style
from jaxmap.figures.figure import svg_of


def table(count: int, kl: list[float]) -> KlTable:
    pairs_P2 = np.stack(np.triu_indices(count, k=1), axis=1)[: len(kl)]
    names = tuple(f"org/m{k}" for k in range(count))
    return KlTable(names, pairs_P2, np.array(kl), np.zeros(len(kl)))


def test_each_pair_has_its_number_on_both_sides():
    figure = kl_matrix.draw(table(3, [0.001, 0.5, 0.25]))
    axes, bar = figure.axes
    found = {one.get_position(): one.get_text() for one in axes.texts}
    assert found == {
        (1, 0): "0.0010", (0, 1): "0.0010", (2, 0): "0.50", (0, 2): "0.50", (2, 1): "0.25",
        (1, 2): "0.25",
    }  # fmt: skip
    assert [one.get_text() for one in axes.get_yticklabels()] == ["org/m0", "org/m1", "org/m2"]
    assert "bits per byte" in bar.get_ylabel()
    shown = axes.get_images()[0].get_array()
    assert shown[0, 2] == 0.5
    assert np.ma.getmaskarray(shown).diagonal().all()
    # What the report swaps for the colours of its page would vanish on a square.
    assert not {one.get_color() for one in axes.texts} & {"white", "#ffffff", style.INK}


@pytest.mark.parametrize("kl", [[0.0, 0.0, 0.0], [0.0, 1e-12, 1e-12], [3.0, 3.0, 3.0]])
def test_equal_and_zero_kls_are_drawn(kl):
    assert "<svg" in svg_of(kl_matrix.draw(table(3, kl)))


def test_what_is_not_whole_or_too_many_is_not_drawn():
    assert kl_matrix.draw(table(3, [0.1, 0.2])) is None
    assert kl_matrix.draw(table(41, [0.1] * 820)) is None
    assert kl_matrix.draw(table(40, [0.1] * 780)) is not None

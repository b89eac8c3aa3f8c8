"""The scale of KL as a figure: few values are dots, many a violin that ends where they end."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.collections import PathCollection, PolyCollection

from jaxmap.analysis.pair_settings import NAMES, Setting
from jaxmap.analysis.scale import Scale, Scaled
from jaxmap.figures import scale, style
from jaxmap.stats.divergence import Divergence
from jaxmap.stats.scale import summarise


def of(**values: list[float] | np.ndarray) -> Scale:
    """A scale with these KLs in its first settings; the others have none."""
    rows = []
    for name in NAMES:
        kl_P = np.asarray(values.get(name.replace("-", "_"), []), float)
        setting = Setting(name, cleaned=name in ("later", "early"))
        found = Divergence(kl_P, np.full(len(kl_P), np.nan))
        rows.append(Scaled(setting, found, summarise(kl_P, np.empty((len(kl_P), 0)))))
    return Scale(tuple(rows), ())


def texts(axes) -> list[str]:
    return [one.get_text() for one in axes.texts]


def test_below_thirty_values_are_dots_and_violins_end_with_the_data(tmp_path):
    rng = np.random.default_rng(0)
    many = np.exp(rng.normal(-3, 2, 30))
    few = np.exp(rng.normal(-9, 1, 29))
    figure = scale.draw(of(later=many, seed=few, layer=[0.3]))
    (axes,) = figure.axes
    assert axes.get_yscale() == "log"
    (violin,) = (one for one in axes.collections if isinstance(one, PolyCollection))
    heights = violin.get_paths()[0].vertices[:, 1]
    np.testing.assert_allclose([heights.min(), heights.max()], [many.min(), many.max()], rtol=1e-9)
    dots, one = (part for part in axes.collections if isinstance(part, PathCollection))
    np.testing.assert_array_equal(dots.get_offsets()[:, 1], few)
    assert (abs(dots.get_offsets()[:, 0] - NAMES.index("seed")) < 0.3).all()
    assert len(set(dots.get_offsets()[:, 0])) == 29
    np.testing.assert_array_equal(one.get_offsets(), [[NAMES.index("layer"), 0.3]])
    style.save(figure, tmp_path / "scale", ["png"])


def test_medians_are_written_with_powers_and_clear_of_points():
    figure = scale.draw(of(**{"8_bit": [5e-5, 6.53e-5, 2e-4], "seed": [0.59, 0.7]}))
    (axes,) = figure.axes
    assert "6.5 × 10⁻⁵" in texts(axes)
    assert not any("e-" in one for one in texts(axes))
    figure.canvas.draw()
    for label in axes.texts:
        if label.get_text() == "none":
            continue
        box = label.get_window_extent()
        for dots in axes.collections:
            at = axes.transData.transform(dots.get_offsets())
            assert not any(box.contains(*one) for one in at)
    ticks = [one.get_text() for one in axes.get_yticklabels()]
    assert "10⁻⁴" in ticks
    assert "0.1" in ticks


def test_each_setting_says_whether_its_scores_were_cleaned():
    (axes,) = scale.draw(of(later=[0.1], seed=[0.2])).axes
    labels = [one.get_text() for one in axes.get_xticklabels()]
    assert labels[NAMES.index("later")] == "later\nn = 1\ncleaned"
    assert labels[NAMES.index("seed")] == "seed\nn = 1\nraw"
    assert labels[NAMES.index("layer")].strip() == "layer\nn = 0"


@pytest.mark.parametrize(
    "values", [[0.0], [0.0] * 40, [0.2] * 40, [0.0, 1e-9], [0.1], [1e-12, 1e6], [3.0] * 2]
)
def test_odd_values_are_drawn_without_a_warning(tmp_path, values):
    figure = scale.draw(of(later=values))
    style.save(figure, tmp_path / "scale")
    (axes,) = figure.axes
    triangles = [line for line in axes.lines if line.get_marker() == "v"]
    assert len(triangles) == (min(values) == 0)

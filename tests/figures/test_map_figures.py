"""What the maps show: lines, widths, shades and markers that mean what the papers say."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from jaxmap.analysis.maps import RunLine
from jaxmap.figures import map_layers, map_pairs, map_trajectories, style
from jaxmap.figures.legend import kind_colors, lighter
from jaxmap.stats.embed import Embedding, pca


def embedding(count: int) -> Embedding:
    return pca(np.random.default_rng(count).normal(size=(count, 6)))


def line(run: str, kl: list[float], seed: int = 0) -> RunLine:
    xy_I2 = np.random.default_rng(seed).normal(size=(len(kl), 2))
    return RunLine(run, xy_I2, np.array(kl))


def of(axes, label: str):
    return next(one for one in axes.collections if one.get_label() == label)


def test_widths_follow_kl_up_to_the_cap_and_shades_follow_time():
    kl = [np.nan, *([1.0] * 38), 0.5, 100.0]
    figure = map_trajectories.draw([line("pythia-1b", kl)], embedding(41))
    (axes,) = figure.axes
    segments = of(axes, "pythia-1b")
    widths = segments.get_linewidths()
    span = map_trajectories.THICK - map_trajectories.THIN
    assert len(widths) == 40
    assert widths[-1] == widths[0] == pytest.approx(map_trajectories.THICK)  # 100 is capped to 1
    assert widths[-2] == pytest.approx(map_trajectories.THIN + span / 2)
    light = segments.get_colors()[:, :3].sum(axis=1)
    assert (np.diff(light) < 0).all()  # darker with time


def test_gaps_are_not_bridged():
    one = line("a", [np.nan, 1.0, np.nan, np.nan, 1.0])
    one.xy_I2[2] = np.nan
    figure = map_trajectories.draw([one], embedding(5))
    assert len(of(figure.axes[0], "a").get_segments()) == 2


def test_seeds_have_a_panel_of_their_own():
    runs = ["pythia-410m", "pythia-410m-seed1", "pythia-410m-seed2", "pythia-1b"]
    lines = [line(run, [np.nan, 0.1, 0.2], i) for i, run in enumerate(runs)]
    left, right = map_trajectories.draw(lines, embedding(12)).axes
    assert [c.get_label() for c in left.collections] == runs
    assert [c.get_label() for c in right.collections] == runs[:3]
    last = {run: tuple(of(left, run).get_colors()[-1][:3]) for run in runs}
    assert last[runs[0]] == last[runs[1]] == last[runs[2]] != last[runs[3]]
    seeds = {tuple(of(right, run).get_colors()[-1][:3]) for run in runs[:3]}
    assert len(seeds) == 3


def test_axes_tell_units_and_variance():
    first = embedding(12)
    axes = map_pairs.draw_models(first, [""] * 12).axes[0]
    assert "√(bits/byte)" in axes.get_xlabel()
    assert f"{first.explained[0]:.0%} of the variance" in axes.get_xlabel()
    axes = map_pairs.draw_models(Embedding("tsne", first.xy_K2, 30.0), [""] * 12).axes[0]
    assert axes.get_xlabel() == "t-SNE 1 (no unit)"


def test_a_model_and_its_quantised_version_are_joined():
    places = embedding(4)
    pairs = np.array([[0, 2], [1, 3]])
    axes = map_pairs.draw_quantised(places, pairs, ["a", "b", "a", "b"], "8-bit").axes[0]
    joined, plain, small = axes.collections
    np.testing.assert_allclose(joined.get_segments(), places.xy_K2[pairs])
    np.testing.assert_allclose(plain.get_offsets(), places.xy_K2[:2])
    np.testing.assert_allclose(small.get_offsets(), places.xy_K2[2:])
    np.testing.assert_allclose(plain.get_facecolors(), small.get_edgecolors())
    assert len(small.get_facecolors()) == 0  # rings


def test_each_generation_has_its_marker():
    places = embedding(6)
    pairs = np.array([[0, 1], [1, 2], [2, 3], [3, 4]])
    axes = map_pairs.draw_families(places, pairs, np.array([1, 2, 3, 4, 5, 1]), ["a"] * 6).axes[0]
    shown = {c.get_label(): len(c.get_offsets()) for c in axes.collections[1:]}
    assert shown == {"generation 1": 2, "generation 2": 1, "generation 3": 1, "generation 4": 2}


def test_deeper_layers_are_lighter_and_the_last_is_a_white_square():
    places = embedding(8)
    models, layers = ["m"] * 4 + ["n"] * 4, np.array([0, 1, 2, 3] * 2)
    shuffled = np.random.default_rng(0).permutation(8)
    axes = map_layers.draw(
        Embedding("pca", places.xy_K2[shuffled], explained=(0.5, 0.2)),
        [models[k] for k in shuffled],
        layers[shuffled],
        ["a"] * 8,
    ).axes[0]
    for model, rows in (("m", slice(0, 4)), ("n", slice(4, 8))):
        dots = of(axes, model)
        np.testing.assert_allclose(dots.get_offsets(), places.xy_K2[rows][:3])
        assert (np.diff(dots.get_facecolors()[:, :3].sum(axis=1)) > 0).all()
    squares = [c for c in axes.collections if c.get_label() not in ("m", "n")]
    assert len(squares) == 2
    for square in squares:
        np.testing.assert_array_equal(square.get_facecolors()[0], 1.0)


def test_colours_go_to_the_most_frequent_types():
    kinds = [f"k{i}" for i in range(8) for _ in range(9 - i)] + [""] * 50
    colors = kind_colors(kinds)
    assert [colors[f"k{i}"] for i in range(6)] == list(style.PALETTE)
    assert colors["k6"] == colors["k7"] == colors[""] == style.FAINT
    np.testing.assert_allclose(lighter("#000000", 0.25), 0.25)
    np.testing.assert_allclose(lighter(style.PALETTE[0], 0.0), to_rgb(style.PALETTE[0]))

"""Every figure of odd data is drawn and saved without a warning (warnings are errors in tests)."""

from __future__ import annotations

import numpy as np
import pytest

from jaxmap.analysis.consecutive import Consecutive, RunSteps
from jaxmap.analysis.dynamics import Dynamics, Series
from jaxmap.analysis.kl import KlTable
from jaxmap.analysis.learning import Learning, LearningCurve
from jaxmap.analysis.maps import RunLine
from jaxmap.analysis.runs import Run
from jaxmap.figures import (
    consecutive,
    dynamics,
    kl_matrix,
    learning,
    legend,
    map_layers,
    map_pairs,
    map_trajectories,
    style,
)
from jaxmap.naming import parse_run
from jaxmap.stats.embed import Embedding, pca

NAMES = {
    "one": ["a"],
    "two": ["org/a", "org/b"],
    "dollars": ["cost$5$", "$\\frac$", "a_{b}^c$x$"],
    "underscores": ["_hidden", "__x"],
    "scripts": ["модель-1b", "數學模型-7b", "मॉडल", "モデル"],
    "long": [f"org/{'a-very-long-name-' * 8}{k}" for k in range(3)],
    "many": [f"model-{k}" for k in range(200)],
    "seeds": ["m-1b", *(f"m-1b-seed{k}" for k in range(1, 30))],
}
VALUES = {"equal": (1.0, 1.0, 1.0), "zeros": (0.0, 0.0, 0.0), "far": (1e-12, 1.0, 1e6)}


def embedding(count: int, same: bool = False) -> Embedding:
    return pca(np.random.default_rng(count).normal(size=(count, 6)) * (not same))


def saved(figure, folder) -> str:
    """The text of the figure as SVG; it is saved as PNG too."""
    paths = style.save(figure, folder / "figure", ("png", "svg"))
    return paths[1].read_text("utf-8")


@pytest.mark.parametrize("kind", NAMES)
def test_runs_of_any_names(kind, tmp_path):
    names, times = NAMES[kind], np.array([0, 1, 5000])
    values = np.array([3.0, 2.0, 1.0])
    curves = [
        LearningCurve(Run(n, n, parse_run(n), (None,) * 3, times), times, values, 0.1 * values)
        for n in names
    ]
    text = saved(learning.draw(Learning(tuple(curves))), tmp_path)
    assert "Scores: raw" in text
    if len(names) < 9 and kind != "long":
        assert all(name in text for name in names)
    series = [Series("turn", n, times, values - 2, 0.1 * values) for n in names]
    found = Dynamics((*series, Series("kl_between_seeds", names[0], times, values, values)), 5, ())
    assert "Scores: cleaned" in saved(dynamics.draw(found), tmp_path)


@pytest.mark.parametrize("kind", VALUES)
def test_intervals_of_any_kl(kind, tmp_path):
    kl_I = np.array(VALUES[kind])
    during_I = np.array([True, False, False])
    run = RunSteps("a", np.array([0, 1, 2000]), np.array([1, 2000, 3000]), kl_I, 0 * kl_I, during_I)
    figure = consecutive.draw(Consecutive((run,), 2))
    assert (figure is None) == (kind == "zeros")
    if figure is not None:
        assert "Scores: cleaned" in saved(figure, tmp_path)


@pytest.mark.parametrize("kind", [name for name in NAMES if name != "one"])
def test_squares_of_any_names(kind, tmp_path):
    names = NAMES[kind][:40]
    pairs_P2 = np.stack(np.triu_indices(len(names), k=1), axis=1)
    kl_P = np.geomspace(1e-8, 10, len(pairs_P2)) * (np.arange(len(pairs_P2)) > 0)
    table = KlTable(tuple(names), pairs_P2, kl_P, 0 * kl_P)
    text = saved(kl_matrix.draw(table), tmp_path)
    assert "Scores: raw" in text
    assert "e-0" not in text.partition("<defs>")[0]


@pytest.mark.parametrize(("count", "same"), [(1, False), (2, False), (2, True), (200, False)])
def test_maps_of_one_two_and_many(count, same, tmp_path):
    at = embedding(count, same)
    kinds = [NAMES["scripts"][k % 4] if k % 3 else "_type" for k in range(count)]
    pairs_P2 = np.array([[k, k + 1] for k in range(count - 1)], np.int64).reshape(-1, 2)
    saved(map_pairs.draw_models(at, kinds), tmp_path)
    if count > 1:
        saved(map_pairs.draw_quantised(at, pairs_P2, kinds, "8-bit"), tmp_path)
    saved(map_pairs.draw_families(at, pairs_P2, np.ones(count, int), kinds), tmp_path)
    models = [f"m{k // 2}" for k in range(count)]
    figure = map_layers.draw(at, models, np.arange(count) % 2, kinds)
    saved(figure, tmp_path)
    sizes = {len(one.get_sizes()) and one.get_sizes()[0] for one in figure.axes[0].collections}
    assert (max(sizes) < 30) == (count == 200)


@pytest.mark.parametrize("kind", NAMES)
def test_maps_of_runs_of_any_names(kind, tmp_path):
    rng = np.random.default_rng(0)
    lines = [RunLine(name, rng.normal(size=(3, 2)), np.zeros(3)) for name in NAMES[kind]]
    saved(map_trajectories.draw(lines, embedding(3)), tmp_path)


def test_a_legend_ends_with_how_many_more_there_are():
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(7, 3), layout="constrained")
    legend.legend_below(figure, [Line2D([], [], label=f"run {k}") for k in range(60)])
    told = [one.get_text() for one in figure.legends[0].get_texts()]
    assert told[-1] == f"and {60 - len(told) + 1} more"
    assert len(told) == legend.MOST_LINES

"""Figures: what is drawn is what was measured, and anybody can tell the lines apart."""

from __future__ import annotations

from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest

from jaxmap.analysis.consecutive import Consecutive, RunSteps
from jaxmap.analysis.learning import Learning, LearningCurve
from jaxmap.analysis.runs import Run
from jaxmap.figures import consecutive, learning, lines, style
from jaxmap.figures.figure import Figures
from jaxmap.naming import parse_run


def steps(run: str, kl: list[float], end: list[int]) -> RunSteps:
    end_I = np.array(end, np.int64)
    kl_I = np.array(kl)
    start_I, during_I = np.array([0, *end[:-1]], np.int64), np.zeros(len(end), bool)
    return RunSteps(run, start_I, end_I, kl_I, 0.1 * kl_I, during_I)


def of(*runs: RunSteps, warmup: int = 2000) -> Consecutive:
    timed = [replace(run, during_I=run.end_I <= warmup) for run in runs]
    return Consecutive(tuple(timed), warmup)


def drawn(axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {line.get_label(): line.get_data() for line in axes.get_lines()}


def test_consecutive_splits_at_the_end_of_warmup():
    run = steps("pythia-demo-xs", [0.1, 0.2, 0.3, 0.4], [1, 2, 4, 8])
    left, right = consecutive.draw(of(run, warmup=2)).axes
    (x, y), *rest = drawn(left).values()
    assert not rest
    np.testing.assert_array_equal(x, [1, 2])
    np.testing.assert_array_equal(y, [0.1, 0.2])
    x, y = drawn(right)["pythia-demo-xs"]
    np.testing.assert_array_equal(x, [4, 8])
    np.testing.assert_array_equal(y, [0.3, 0.4])
    assert right.get_yscale() == left.get_yscale() == "log"
    # log(1 + step), at the place where it is drawn
    forward = left.xaxis.get_transform().transform(np.array([0.0, 1.0, 3.0]))
    np.testing.assert_allclose(forward, np.log([1, 2, 4]))


@pytest.mark.parametrize(
    ("kl", "warmup", "title"),
    [([np.nan, 0.0, 0.1], 2, "After step 2"), ([0.1, 0.2, 0.3], 2000, "Warmup: up to step 2,000")],
)
def test_a_side_without_an_interval_is_left_out(tmp_path, kl, warmup, title):
    figure = consecutive.draw(of(steps("a", kl, [1, 2, 4]), warmup=warmup))
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == title
    style.save(figure, tmp_path / "one", ["png"])


def test_consecutive_names_units_and_every_run():
    runs = [steps(f"pythia-demo-{name}", [0.1, 0.2], [1, 4000]) for name in ("xs", "xs-seed1", "s")]
    figure = consecutive.draw(of(*runs))
    for axes in figure.axes:
        assert "bits per byte" in axes.get_ylabel()
        assert "step" in axes.get_xlabel()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [run.run for run in runs]


def test_consecutive_leaves_out_zeros_and_gaps():
    run = steps("a", [0.0, 0.2, np.nan, 0.4], [1, 2, 4, 8])
    (left,) = consecutive.draw(of(run, warmup=8)).axes
    ((_, y),) = drawn(left).values()
    np.testing.assert_array_equal(y, [np.nan, 0.2, np.nan, 0.4])


def test_consecutive_bands_are_one_standard_error():
    run = steps("a", [1.0, 2.0], [1, 2])
    (left,) = consecutive.draw(of(run, warmup=8)).axes
    (band,) = left.collections
    y = band.get_paths()[0].vertices[:, 1]
    assert y.min() == pytest.approx(0.9)
    assert y.max() == pytest.approx(2.2)


def test_where_nothing_can_be_drawn_there_is_no_figure():
    assert consecutive.draw(of()) is None
    assert consecutive.draw(of(steps("a", [0.0, np.nan], [1, 4000]))) is None
    assert learning.draw(Learning(())) is None


def test_learning_draws_what_it_was_given():
    step_I, bits_I = np.array([0, 1, 64]), np.array([4.0, 3.9, 2.5])
    name = "pythia-demo-xs"
    run = Run(name, f"org/{name}", parse_run(name), (None,) * 3, step_I)
    curve = LearningCurve(run, step_I, bits_I, np.full(3, 0.1))
    (axes,) = learning.draw(Learning((curve,))).axes
    x, y = drawn(axes)["pythia-demo-xs"]
    np.testing.assert_array_equal(x, step_I)
    np.testing.assert_array_equal(y, bits_I)
    assert "bits per byte" in axes.get_ylabel()
    assert axes.get_xticks()[0] == 0
    assert axes.get_xticks()[-1] == 64


def test_seeds_share_a_colour_and_no_two_lines_look_alike():
    names = [f"m{i}{seed}" for i in range(6) for seed in ("", "-seed1", "-seed2")]
    styles = lines.run_styles(names)
    assert styles["m0"].color == styles["m0-seed1"].color == styles["m0-seed2"].color
    assert styles["m0"].color != styles["m1"].color
    assert styles["m0"].dashes == "-"
    assert styles["m0-seed1"].alpha < styles["m0"].alpha
    looks = {(s.color, s.dashes, s.alpha, s.width) for s in styles.values()}
    assert len(looks) == len(names)


def test_saving_is_reproducible_and_leaves_no_setting_behind(tmp_path):
    before = dict(mpl.rcParams)
    run = steps("a", [1.0, 2.0], [1, 2])
    first = style.save(consecutive.draw(of(run)), tmp_path / "one")
    second = style.save(consecutive.draw(of(run)), tmp_path / "two")
    assert [path.suffix for path in first] == [".png", ".svg", ".pdf"]
    for one, two in zip(first, second, strict=True):
        assert one.read_bytes() == two.read_bytes()
    assert dict(mpl.rcParams) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        path.name for path in first + second
    )


@pytest.mark.parametrize("high", [1, 2, 8, 512, 1024, 143_000])
def test_step_ticks_are_few_and_in_range(high):
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    axes.plot([0, high], [0, 1])
    style.log_step_axis(axes, 0, high)
    ticks = axes.get_xticks()
    assert 1 <= len(ticks) <= 8
    assert ticks[0] == 0
    assert all(0 <= tick <= high for tick in ticks)


def test_a_notebook_shows_figures_and_a_set_of_them():
    figure = consecutive.draw(of(steps("a", [1.0, 2.0], [1, 2])))
    assert figure._repr_png_().startswith(b"\x89PNG")
    both = Figures(one=figure, none=None, two=figure)
    assert list(both) == ["one", "two"]
    assert both._repr_html_().count("<svg") == 2


def test_a_run_looks_the_same_where_others_are_left_out():
    names = ["m0", "m1", "m2", "m3-seed1", "m4"]
    everywhere = lines.run_styles(names)
    assert lines.run_styles(["m2", "m4"], names) == {n: everywhere[n] for n in ("m2", "m4")}
    shown = of(steps("m2", [0.1, 0.2], [1, 4000]), steps("m4", [0.2, 0.3], [1, 4000]))
    alone = consecutive.draw(shown).axes[0].get_lines()[0].get_color()
    among = consecutive.draw(replace(shown, run_names=tuple(names))).axes[0].get_lines()[0]
    assert (alone, among.get_color()) == (style.PALETTE[0], style.PALETTE[2])

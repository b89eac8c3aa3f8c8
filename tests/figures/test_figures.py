"""Figures: what is drawn is what was measured, and anybody can tell the lines apart."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

from jaxmap.figures import consecutive, learning, style


def steps(run: str, kl: list[float], end: list[int]) -> consecutive.Steps:
    end_I = np.array(end, np.int64)
    kl_I = np.array(kl)
    return consecutive.Steps(run, np.array([0, *end[:-1]], np.int64), end_I, kl_I, 0.1 * kl_I)


def drawn(axes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {line.get_label(): line.get_data() for line in axes.get_lines()}


def test_consecutive_splits_at_the_end_of_warmup():
    run = steps("pythia-demo-xs", [0.1, 0.2, 0.3, 0.4], [1, 2, 4, 8])
    left, right = consecutive.draw([run], warmup_until=2).axes
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


def test_consecutive_says_where_there_is_no_interval(tmp_path):
    figure = consecutive.draw([steps("a", [np.nan, 0.0, 0.1], [1, 2, 4])], warmup_until=2)
    left, right = figure.axes
    assert [text.get_text() for text in left.texts] == ["no interval"]
    assert not right.texts
    style.save(figure, tmp_path / "one", ["png"])


def test_consecutive_names_units_and_every_run():
    runs = [steps(f"pythia-demo-{name}", [0.1, 0.2], [1, 4000]) for name in ("xs", "xs-seed1", "s")]
    figure = consecutive.draw(runs)
    for axes in figure.axes:
        assert "bits per byte" in axes.get_ylabel()
        assert "step" in axes.get_xlabel()
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [run.run for run in runs]


def test_consecutive_leaves_out_zeros_and_gaps():
    run = steps("a", [0.0, 0.2, np.nan, 0.4], [1, 2, 4, 8])
    left, _ = consecutive.draw([run], warmup_until=8).axes
    ((_, y),) = drawn(left).values()
    np.testing.assert_array_equal(y, [np.nan, 0.2, np.nan, 0.4])


def test_consecutive_bands_are_one_standard_error():
    run = steps("a", [1.0, 2.0], [1, 2])
    left, _ = consecutive.draw([run], warmup_until=8).axes
    (band,) = left.collections
    y = band.get_paths()[0].vertices[:, 1]
    assert y.min() == pytest.approx(0.9)
    assert y.max() == pytest.approx(2.2)


def test_no_runs_is_an_empty_figure(tmp_path):
    for module in (consecutive, learning):
        (path,) = style.save(module.draw([]), tmp_path / "none", ["png"])
        assert path.stat().st_size > 0


def test_bits_per_byte_is_the_definition_and_its_error_that_of_a_bootstrap():
    rng = np.random.default_rng(0)
    bytes_N = rng.integers(100, 1000, 400)
    ll_KN = -(bytes_N * rng.uniform(0.5, 2, (3, 1)) + rng.normal(0, 60, (3, 400)))
    bits_K, error_K = learning.bits_per_byte(ll_KN, bytes_N)
    np.testing.assert_allclose(bits_K, -ll_KN.sum(1) / np.log(2) / bytes_N.sum(), rtol=1e-12)
    drawn_BN = rng.integers(0, 400, (4000, 400))
    boot_KB = -ll_KN[:, drawn_BN].sum(-1) / np.log(2) / bytes_N[drawn_BN].sum(-1)
    np.testing.assert_allclose(error_K, boot_KB.std(1), rtol=0.08)


def test_learning_draws_what_it_was_given():
    step_I, bits_I = np.array([0, 1, 64]), np.array([4.0, 3.9, 2.5])
    run = learning.Learning("pythia-demo-xs", step_I, bits_I, np.full(3, 0.1))
    (axes,) = learning.draw([run]).axes
    x, y = drawn(axes)["pythia-demo-xs"]
    np.testing.assert_array_equal(x, step_I)
    np.testing.assert_array_equal(y, bits_I)
    assert "bits per byte" in axes.get_ylabel()
    assert axes.get_xticks()[0] == 0
    assert axes.get_xticks()[-1] == 64


def test_seeds_share_a_colour_and_no_two_lines_look_alike():
    names = [f"m{i}{seed}" for i in range(6) for seed in ("", "-seed1", "-seed2")]
    styles = style.run_styles(names)
    assert styles["m0"].color == styles["m0-seed1"].color == styles["m0-seed2"].color
    assert styles["m0"].color != styles["m1"].color
    assert styles["m0"].dashes == "-"
    assert styles["m0-seed1"].alpha < styles["m0"].alpha
    looks = {(s.color, s.dashes, s.alpha, s.width) for s in styles.values()}
    assert len(looks) == len(names)


def test_saving_is_reproducible_and_leaves_no_setting_behind(tmp_path):
    before = dict(mpl.rcParams)
    run = steps("a", [1.0, 2.0], [1, 2])
    first = style.save(consecutive.draw([run]), tmp_path / "one")
    second = style.save(consecutive.draw([run]), tmp_path / "two")
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

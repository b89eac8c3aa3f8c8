"""The figure of diffusion: a panel has one axis, exponents have errors, runs differ in print."""

from __future__ import annotations

import numpy as np
import pytest
from support.stores import filled, record, texts

from jaxmap.analysis.context import Context
from jaxmap.analysis.diffusion import Diffusion, measure_diffusion
from jaxmap.analysis.exponents import kl_exponents, weight_exponents
from jaxmap.analysis.trajectories import ExponentCurve, Trajectory
from jaxmap.figures import diffusion, lines, style
from jaxmap.stats.jackknife import GROUPS

STEPS = tuple(1000 * k for k in range(9))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    of = texts(60)
    rng = np.random.default_rng(1)
    records = []
    for name in ("org/p-1b", "org/p-1b-seed1", "org/q-2b"):
        scores = -3.0 * of.num_bytes
        for step in STEPS:
            scores = scores + rng.normal(0, 8, len(of))
            records.append(record(of, name, f"step{step}", scores=scores))
    store, _ = filled(tmp_path_factory.mktemp("runs") / "store", of, *records)
    context = Context(store, warmup_steps=0)
    return context, measure_diffusion(context, start_from=0, window=5)


def with_weights(found: Diffusion) -> Diffusion:
    """As if weights had been compared too."""
    import dataclasses

    weights = tuple(
        dataclasses.replace(
            one, trajectory=dataclasses.replace(one.trajectory, space="weight",
                                                distance=300 * one.trajectory.distance)
        )
        for one in found.exponents
    )  # fmt: skip
    return dataclasses.replace(found, exponents=(*found.exponents, *weights))


def test_errors_are_those_of_the_jackknife(measured):
    context, found = measured
    pre = context.timeline
    one = found.exponents[0]
    rows = dict(zip((run.name for run in pre.runs), pre.rows, strict=True))[one.trajectory.run]
    ll_KN = pre.ll_KN[rows]
    for n, i in enumerate([0, 1, 2, 3]):
        lags = np.log(np.array(STEPS[i + 1 : i + 6]) - STEPS[i])
        apart = ll_KN[i + 1 : i + 6] - ll_KN[i]
        without = []
        for group in range(GROUPS):
            kept = np.arange(ll_KN.shape[1]) % GROUPS != group
            without.append(np.polyfit(lags, np.log(apart[:, kept].var(axis=1)), 1)[0])
        expected = np.sqrt((GROUPS - 1) / GROUPS * ((without - np.mean(without)) ** 2).sum())
        assert one.errors[n] == pytest.approx(expected, rel=1e-6)
    frame = found.to_dataframe()
    assert list(frame.columns[:5]) == ["trajectory", "start_step", "space", "exponent", "r2"]
    np.testing.assert_allclose(frame["standard_error"][: len(one.starts)], one.errors)


def test_checkpoints_that_are_absent_or_equal_are_left_out_of_a_fit(measured):
    context, _ = measured
    pre = context.timeline
    rows, times = pre.rows[0].copy(), np.array(STEPS)
    rows[2], rows[3] = -1, rows[0]
    value, error = kl_exponents(pre, rows, times, [0], 5)
    apart = pre.ll_KN[rows[[1, 4, 5]]] - pre.ll_KN[rows[0]]
    expected = np.polyfit(np.log(times[[1, 4, 5]]), np.log(apart.var(axis=1)), 1)[0]
    assert value[0] == pytest.approx(expected, rel=1e-9)
    assert error[0] > 0
    assert np.isnan(kl_exponents(pre, rows, times, [0], 3)[0]).all()
    square = np.full((9, 9), np.nan)
    square[0, 1:3] = (1.0, 2.0)
    assert np.isnan(weight_exponents(square, times, [0], 5)).all()
    value, error = weight_exponents(square, times, [0], 5, least=2)
    assert value[0] == pytest.approx(1.0)
    assert np.isnan(error[0])


def test_each_panel_has_one_axis_and_one_space(measured, tmp_path):
    _, found = measured
    figure = diffusion.draw(with_weights(found))
    labels = [axes.get_ylabel() for axes in figure.axes]
    assert labels == [
        "KL (bits per byte)", "exponent c of log-likelihoods", "squared distance of weights",
        "exponent c of weights",
    ]  # fmt: skip
    (upper,) = [axes for axes in figure.axes if "log-likelihoods" in axes.get_ylabel()]
    assert len(upper.collections) == 3  # bands
    style.save(figure, tmp_path / "diffusion", ["png"])
    assert len(diffusion.draw(found).axes) == 2


def test_runs_differ_without_colour():
    names = [f"m{k}" for k in range(8)] + [f"s-seed{k}" for k in range(16)]
    looks = lines.run_styles(names)
    assert len({(str(one.dashes), one.marker) for one in looks.values()}) == 24
    alone = lines.run_styles(["p", *(f"p-seed{k}" for k in range(1, 6))])
    assert len({one.color for one in alone.values()}) == 6


@pytest.mark.parametrize("distance", [0.0, 1.0, np.nan])
def test_equal_and_absent_distances_are_drawn_without_a_warning(tmp_path, distance):
    square = np.triu(np.full((9, 9), distance), k=1)
    steps = np.array(STEPS)
    one = Trajectory("a", "log_likelihood", steps, square)
    exponent = np.full(4, 0.0 if distance == 1 else np.nan)
    curve = ExponentCurve(one, steps[:4], exponent, np.full(4, np.nan))
    figure = diffusion.draw(Diffusion((curve,), (), None, 5, 0, ()))
    assert (figure is None) == (distance != 1)
    if figure is not None:
        style.save(figure, tmp_path / "diffusion")

"""KL divergence between consecutive saved checkpoints of a run: Kishino et al. 2026, fig. 4."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Steps:
    """The intervals of one run, in order of training.

    start_I and end_I are training steps (int64), kl_I and error_I bits per byte (float64); an
    interval that was left out is NaN, and is drawn as a gap.
    """

    run: str
    start_I: np.ndarray
    end_I: np.ndarray
    kl_I: np.ndarray
    error_I: np.ndarray


def draw(runs: Sequence[Steps], warmup_until: int = 2000, width: float = 7.2) -> Figure:
    """Draw KL (bits/byte) of each interval at the step where it ends, +- one standard error.

    Left: intervals that end at or before warmup_until, on a log(1 + step) axis. Right: those
    after it. Both y axes are logarithmic: an interval whose KL is exactly 0 (Pythia's first
    update has learning rate 0) has no place there and is left out. width in inches.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    styles = style.run_styles(run.run for run in runs)
    with style.look():
        figure = Figure(figsize=(width, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        for run in runs:
            early_I = run.end_I <= warmup_until
            _line(left, run, early_I, styles[run.run])
            # Each line goes on from the last point of the warmup panel's range.
            _line(right, run, ~early_I, styles[run.run])
        early = [s for run in runs for s in run.end_I if s <= warmup_until]
        style.log_step_axis(left, 1, max(early, default=1))
        left.set_title(f"Warmup: up to step {warmup_until:,}")
        left.set_xlabel("training step, log(1 + step)")
        right.set_title(f"After step {warmup_until:,}")
        right.set_xlabel("training step")
        right.xaxis.set_major_locator(MaxNLocator(4))
        right.xaxis.set_major_formatter("{x:,.0f}")
        for axes in (left, right):
            axes.set_ylabel("KL to the checkpoint before\n(bits per byte)")
            if any(np.isfinite(line.get_ydata()).any() for line in axes.get_lines()):
                style.plain_log_axis(axes)
            else:
                axes.set_yticks([])
                axes.text(0.5, 0.5, "no interval", transform=axes.transAxes, ha="center")
        style.run_legend(figure, styles)
    return figure


def _line(axes: Axes, run: Steps, chosen_I: np.ndarray, look: style.LineStyle) -> None:
    kl_I = np.where(run.kl_I > 0, run.kl_I, np.nan)[chosen_I]
    if not np.isfinite(kl_I).any():
        return
    end_I, error_I = run.end_I[chosen_I], run.error_I[chosen_I]
    low_I = np.maximum(kl_I - error_I, kl_I / 10)  # a log axis has no room for zero or less
    axes.fill_between(
        end_I, low_I, kl_I + error_I, color=look.color, alpha=0.18 * look.alpha, linewidth=0
    )
    axes.plot(
        end_I,
        kl_I,
        color=look.color,
        linestyle=look.dashes,
        alpha=look.alpha,
        linewidth=look.width,
        marker="o",
        markersize=style.marker_size(look, int(chosen_I.sum())),
        label=run.run,
    )

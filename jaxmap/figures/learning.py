"""How well each checkpoint of a run predicts the texts: bits per byte against training step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Learning:
    """One run: step_I int64; bits_I and error_I (one standard error) in bits per byte, float64.

    NaN is a checkpoint that is not there, and is drawn as a gap.
    """

    run: str
    step_I: np.ndarray
    bits_I: np.ndarray
    error_I: np.ndarray

    @property
    def there(self) -> np.ndarray:
        """Places of the checkpoints that are there, int64."""
        return np.flatnonzero(np.isfinite(self.bits_I))


def bits_per_byte(ll_KN: np.ndarray, bytes_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bits per byte of K models over N texts, and its standard error with texts as the sample.

    sum_n -ll_n / (ln 2 · sum_n bytes_n); the error is that of a ratio of sums (Cochran 1977,
    Sampling Techniques, eq. 2.39). ll_KN in nats, both results float64 [K]; an error over a single
    text is NaN.
    """
    bits_KN = -np.asarray(ll_KN, np.float64) / np.log(2)
    bytes_N = np.asarray(bytes_N, np.float64)
    ratio_K = bits_KN.sum(1) / bytes_N.sum()
    left_KN = bits_KN - ratio_K[:, None] * bytes_N
    n = len(bytes_N)
    variance_K = (left_KN**2).sum(1) / (n - 1) if n > 1 else np.full(len(ratio_K), np.nan)
    return ratio_K, np.sqrt(variance_K / n) / bytes_N.mean()


def draw(runs: Sequence[Learning], width: float = 7.2) -> Figure:
    """Draw bits per byte against step on a log(1 + step) axis, +- one standard error."""
    from matplotlib.figure import Figure

    styles = style.run_styles(run.run for run in runs)
    with style.look():
        figure = Figure(figsize=(width, 3.8), layout="constrained")
        axes = figure.subplots()
        for run in runs:
            look = styles[run.run]
            axes.fill_between(
                run.step_I,
                run.bits_I - run.error_I,
                run.bits_I + run.error_I,
                color=look.color,
                alpha=0.15 * look.alpha,
                linewidth=0,
            )
            axes.plot(
                run.step_I,
                run.bits_I,
                color=look.color,
                linestyle=look.dashes,
                alpha=look.alpha,
                linewidth=look.width,
                marker="o",
                markersize=style.marker_size(look, len(run.step_I)),
                label=run.run,
            )
        last = max((int(run.step_I[-1]) for run in runs if len(run.step_I)), default=1)
        style.log_step_axis(axes, 0, last)
        axes.set_xlabel("training step, log(1 + step)")
        axes.set_ylabel("bits per byte of text (lower is better)")
        style.run_legend(figure, styles)
    return figure

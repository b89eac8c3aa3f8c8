"""KL divergence between consecutive saved checkpoints of a run: Kishino et al. 2026, fig. 4."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import captions, lines, style
from jaxmap.figures.figure import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxmap.analysis.consecutive import Consecutive, RunSteps


def draw(consecutive: Consecutive, width: float = 7.2) -> Figure | None:
    """Draws the KL (bits/byte) of each interval at its end, with one standard error.

    Intervals that end during warmup are on the left, on a log(1 + time) axis; those after it on the
    right. A side without intervals is left out; without any, the result is None. Both y axes are
    logarithmic, so an interval whose KL is exactly 0 (Pythia's first update has learning rate 0) is
    left out. `width` is in inches.
    """
    from matplotlib.ticker import MaxNLocator

    runs, until = consecutive.runs, consecutive.warmup_steps
    parts = [part for part in ("during", "after") if _any(runs, part)]
    if not parts:
        return None
    styles = lines.run_styles((run.run for run in runs), consecutive.run_names)
    unit = runs[0].unit
    with style.look():
        figure = new_figure(width, 3.8)
        panels = dict(zip(parts, figure.subplots(1, len(parts), squeeze=False)[0], strict=True))
        for part, axes in panels.items():
            for run in runs:
                chosen_I = _part(run, part)
                lines.draw_line(
                    axes, run.end_I[chosen_I], run.kl_I[chosen_I], styles[run.run],
                    error_I=run.error_I[chosen_I], label=run.run, logarithmic=True,
                )  # fmt: skip
        if left := panels.get("during"):
            ends = np.concatenate([run.end_I[run.during_I] for run in runs])
            style.log_time_axis(left, unit, 1 if unit == "step" else int(ends.min()), ends.max())
            left.set_title("Warmup" if until is None else f"Warmup: up to step {until:,}")
        if right := panels.get("after"):
            right.set_title("After warmup" if until is None else f"After step {until:,}")
            right.set_xlabel(style.time_label(unit))
            right.xaxis.set_major_locator(MaxNLocator(4))
            right.xaxis.set_major_formatter(lambda x, _: style.time_tick(x, unit))
        for axes in panels.values():
            axes.set_ylabel("KL to the checkpoint before\n(bits per byte)")
            style.plain_log_axis(axes)
        lines.run_legend(figure, styles)
        sentence = captions.scores_are(consecutive.recipe, consecutive.group, cleaned=True)
        captions.write_above(figure, sentence)
    return figure


def _part(run: RunSteps, part: str) -> np.ndarray:
    """The indices of the intervals that end during warmup, or after it."""
    return run.during_I if part == "during" else ~run.during_I


def _any(runs: Sequence[RunSteps], part: str) -> bool:
    """Whether a part has anything to draw."""
    return any((run.kl_I[_part(run, part)] > 0).any() for run in runs)

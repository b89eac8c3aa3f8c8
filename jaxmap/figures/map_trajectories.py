"""The map of training runs: Kishino et al. 2026, fig. 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import captions, style
from jaxmap.figures.digits import number
from jaxmap.figures.figure import new_figure
from jaxmap.figures.legend import lighter, map_axes, shown_label
from jaxmap.figures.names import short_names
from jaxmap.naming import parse_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxmap.analysis.maps import RunLine
    from jaxmap.stats.embed import Embedding

THIN, THICK = 0.5, 3.5  # points
SEED_COLORS = (*style.PALETTE, style.INK, style.FAINT)
MOST_LINES, LONGEST = 12, 24  # of a legend, and letters of each line
CAPPED_AT = 0.95  # quantile of the KL of all steps


def draw(lines: Sequence[RunLine], embedding: Embedding, width: float = 7.2) -> Figure:
    """Draws every run as a line, which is lighter for earlier steps and wider for a larger KL.

    Widths are proportional to the KL of a step up to its 95 % quantile over all steps. The left
    panel has one colour per model, for all its seeds. If there are seeds, the right panel has those
    of the model with most of them, each with its colour and number. `width` is in inches.
    """
    kl_S = np.concatenate([line.kl_I for line in lines])
    kl_S = kl_S[np.isfinite(kl_S)]
    cap = float(np.quantile(kl_S, CAPPED_AT)) if len(kl_S) else 0.0
    base_of = {line.run: parse_run(line.run).base for line in lines}
    bases = list(dict.fromkeys(base_of.values()))
    most = max(bases, key=lambda base: sum(b == base for b in base_of.values()))
    seeds = [line for line in lines if base_of[line.run] == most]
    with style.look():
        panels = 2 if len(seeds) > 1 and len(bases) > 1 else 1
        figure = new_figure(width, 4.6 if panels == 2 else 5.6)
        first, *rest = figure.subplots(1, panels, squeeze=False)[0]
        by_run = len(bases) == 1
        color = {
            line.run: style.PALETTE[
                (i if by_run else bases.index(base_of[line.run])) % len(style.PALETTE)
            ]
            for i, line in enumerate(lines)
        }
        _panel(first, lines, color, cap, embedding)
        names = {run: run for run in color} if by_run else {b: _counted(b, base_of) for b in bases}
        colors = [color[_one_of(key, base_of)] for key in names]
        first.set_title("all runs")
        _legend(first, list(names.values()), colors, 2)
        for axes in rest:
            of_seed = {line.run: SEED_COLORS[i % len(SEED_COLORS)] for i, line in enumerate(seeds)}
            _panel(axes, seeds, of_seed, cap, embedding, numbered=True)
            axes.set_title(f"{short_names([most], LONGEST)[0]}, one colour per seed")
            axes.set_ylabel("")
            _legend(axes, [_seed(run) for run in of_seed], list(of_seed.values()), 3)
        captions.write_above(
            figure,
            "Lighter: earlier; dot: last checkpoint; width: KL of a step, widest from "
            f"{number(cap, 2)} bits per byte.",
        )
    return figure


def _panel(
    axes: Axes,
    lines: Sequence[RunLine],
    color: dict[str, str],
    cap: float,
    embedding: Embedding,
    numbered: bool = False,
) -> None:
    from matplotlib.collections import LineCollection

    for line in lines:
        segments_S22 = np.stack([line.xy_I2[:-1], line.xy_I2[1:]], axis=1)
        there_S = np.isfinite(segments_S22).all(axis=(1, 2))
        place_S = np.arange(1, len(line.xy_I2)) / max(len(line.xy_I2) - 1, 1)
        kl_S = np.nan_to_num(line.kl_I[1:])
        wide_S = np.minimum(kl_S / cap, 1.0) if cap > 0 else np.zeros_like(kl_S)
        axes.add_collection(
            LineCollection(
                list(segments_S22[there_S]),
                colors=[lighter(color[line.run], 0.75 * (1 - p)) for p in place_S[there_S]],
                linewidths=THIN + (THICK - THIN) * wide_S[there_S],
                capstyle="round",
                label=line.run,
            )
        )
        kept_I2 = line.xy_I2[np.isfinite(line.xy_I2).all(axis=1)]
        if len(kept_I2):
            axes.plot(
                *kept_I2[-1], "o", ms=4.5, color=color[line.run], mec="white", mew=0.6, zorder=3
            )
            seed = parse_run(line.run).seed
            if numbered and seed is not None:
                axes.annotate(
                    str(seed), kept_I2[-1], xytext=(4, 3), textcoords="offset points",
                    fontsize=8, zorder=4,
                )  # fmt: skip
    axes.autoscale_view()
    map_axes(axes, embedding)


def _legend(axes: Axes, labels: Sequence[str], colors: Sequence[str], columns: int) -> None:
    """The legend below one panel; one of many lines ends with how many more there are."""
    from matplotlib.lines import Line2D

    short = short_names(list(labels), LONGEST)
    handles = [
        Line2D([], [], color=color, lw=2.5, label=shown_label(label))
        for label, color in zip(short, colors, strict=True)
    ]
    if (more := len(handles) - MOST_LINES + 1) > 1:
        handles[MOST_LINES - 1 :] = [Line2D([], [], ls="", label=f"and {more} more")]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=columns)


def _seed(run: str) -> str:
    seed = parse_run(run).seed
    return "no seed named" if seed is None else f"seed {seed}"


def _one_of(key: str, base_of: dict[str, str]) -> str:
    return next(run for run, base in base_of.items() if key in (run, base))


def _counted(base: str, base_of: dict[str, str]) -> str:
    count = sum(one == base for one in base_of.values())
    return base if count == 1 else f"{base} ({count} runs)"

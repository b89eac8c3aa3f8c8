"""Figures 1, 2, 4 and 5 in the arrangement of Kishino et al. 2026; figure 3 is `figures.scale`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import captions, style
from jaxmap.figures.figure import new_figure
from jaxmap.figures.legend import lighter
from jaxmap.figures.lines import DASHES
from jaxmap.naming import parse_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxmap.analysis.consecutive import Consecutive, RunSteps
    from jaxmap.analysis.maps import Atlas, Map, RunLine

MARKERS = ("o", "s", "v", "^", "D", "P")  # of the sizes
GENERATIONS = ("o", "s", "D", "^")  # 1 to 4; later ones are drawn as the fourth
WHITE = "#fefefe"  # not quite: a page shows what is quite white as its own paper
FADE = 0.8  # how near the first of a row of points comes to white
THICKEST = 3.0  # points, of a segment whose KL is at the cap
CAPPED_AT = 0.95  # quantile of the KL of all segments
# As the paper shows its maps: which dimension of t-SNE goes right and which up, and its sign.
ORIENTED = {
    "trajectories": np.array([[0, 1], [1, 0]]),
    "8-bit": np.array([[0, 1], [1, 0]]),
    "families": np.array([[1, 0], [0, 1]]),
    "layers": np.array([[0, 1], [-1, 0]]),
}
TITLES = {"8-bit": "(a) Quantization", "families": "(b) Fine-tuning", "layers": "(c) Layer"}


def figure_1(atlas: Atlas, width: float = 6.4) -> Figure | None:
    """Draws training runs on one map; returns None without such a map.

    Earlier is lighter; a segment is wider for a larger KL, up to the 95 % quantile of all; the
    other seeds of a size are grey. `width` is in inches.
    """
    one = atlas.find("trajectories")
    if one is None:
        return None
    embedding = replace(one.embeddings[0], xy_K2=_places(one))
    lines = atlas.run_lines(embedding)
    kl_S = np.concatenate([line.kl_I for line in lines])
    cap = float(np.nanquantile(kl_S, CAPPED_AT)) if np.isfinite(kl_S).any() else 0.0
    looks = _looks([line.run for line in lines])
    with style.look():
        figure = new_figure(width, width * 1.05)
        axes = figure.subplots()
        for line in lines:
            _run(axes, line, *looks[line.run], cap=cap)
        _square(axes)
        handles = {label: (color, marker) for color, marker, label in looks.values()}
        _legend(figure, handles, columns=3)
        captions.write_above(figure, captions.scores_are(one.recipe, one.group, one.cleaned))
    return figure


def _places(one: Map) -> np.ndarray:
    """t-SNE in the orientation of the paper, [K, 2]."""
    return one.embeddings[0].xy_K2 @ ORIENTED[one.name].T


def _square(axes: Axes) -> None:
    """Sets equal scales on both axes, which have no unit."""
    axes.autoscale_view()
    axes.set_aspect("equal", adjustable="datalim")


def _looks(runs: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Colour, marker and label of each run; seeds share one of each."""
    names = {run: parse_run(run) for run in runs}
    sizes = [run for run, name in names.items() if name.seed is None]
    found = {}
    for run, name in names.items():
        if name.seed is None:
            place = sizes.index(run)
            color = style.PALETTE[place % len(style.PALETTE)]
            found[run] = (color, MARKERS[place % len(MARKERS)], _size(run))
        else:
            found[run] = (style.FAINT, "X", f"{_size(run)} other seeds")
    return found


def _size(run: str) -> str:
    """`410M` of pythia-410m."""
    return parse_run(run).size_word.upper() or run


def _run(axes: Axes, line: RunLine, color: str, marker: str, _: str, *, cap: float) -> None:
    from matplotlib.collections import LineCollection

    there_I = np.isfinite(line.xy_I2).all(axis=1)
    xy_I2, kl_I = line.xy_I2[there_I], line.kl_I[there_I]
    age_I = np.linspace(0.0, 1.0, len(xy_I2))
    colors = [lighter(color, FADE * (1 - age)) for age in age_I]
    wide_S = np.minimum(np.nan_to_num(kl_I[1:]) / cap, 1.0) if cap > 0 else np.zeros(len(kl_I) - 1)
    axes.add_collection(
        LineCollection(
            list(np.stack([xy_I2[:-1], xy_I2[1:]], axis=1)),
            colors=colors[1:], linewidths=THICKEST * wide_S, capstyle="round", zorder=1,
        )
    )  # fmt: skip
    axes.scatter(
        xy_I2[:, 0], xy_I2[:, 1], s=9, marker=marker, c=colors, edgecolors=style.INK,
        linewidths=0.1, zorder=2,
    )  # fmt: skip
    axes.scatter(
        xy_I2[-1:, 0], xy_I2[-1:, 1], s=110, marker=marker, color=color, edgecolors=style.INK,
        linewidths=0.5, zorder=3,
    )  # fmt: skip


def _legend(figure: Figure, handles: dict[str, tuple[str, str]], columns: int) -> None:
    from matplotlib.lines import Line2D

    figure.legend(
        handles=[
            Line2D([], [], ls="", marker=marker, color=color, ms=7, mec=style.INK, mew=0.4,
                   label=label)
            for label, (color, marker) in handles.items()
        ],
        loc="outside lower center", ncols=columns,
    )  # fmt: skip


# Figure 2 -----------------------------------------------------------------------------------------


def figure_2(atlas: Atlas, colors: dict[str, str], width: float = 10.8) -> Figure | None:
    """Draws three maps; returns None if all are absent.

    (a) has models and their 8-bit copies, (b) parents and children by generation, (c) layers:
    deeper is lighter, the last is a white square. The panel of an absent map is left out. `colors`
    are the colours of types.
    """
    from matplotlib.lines import Line2D

    maps = [one for name in TITLES if (one := atlas.find(name)) is not None]
    if not maps:
        return None
    other = colors.get("others", style.FAINT)
    panels = {"8-bit": _copies, "families": _families, "layers": _layers}
    with style.look():
        figure = new_figure(width / 3 * len(maps) + (len(maps) == 1), 4.4)
        for one, axes in zip(maps, figure.subplots(1, len(maps), squeeze=False)[0], strict=True):
            panels[one.name](axes, one, [colors.get(kind, other) for kind in one.kinds])
            _square(axes)
            axes.set_title(TITLES[one.name])
        handles = [Line2D([], [], ls="", marker="o", ms=5, color=color, label=kind)
                   for kind, color in colors.items()]  # fmt: skip
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), 11))
        said = dict.fromkeys(
            captions.scores_are(one.recipe, one.group, one.cleaned) for one in maps
        )
        captions.write_above(figure, " ".join(said))
    return figure


def _copies(axes: Axes, one: Map, colors: Sequence[str]) -> None:
    xy_K2 = _places(one)
    _join(axes, xy_K2[one.pairs_P2])
    for column, marker, label in ((0, "o", "original"), (1, "s", "8-bit quantized")):
        rows = one.pairs_P2[:, column]
        _dots(axes, xy_K2, rows.tolist(), colors, marker, label, 2)
    axes.legend(loc="upper left")


def _families(axes: Axes, one: Map, colors: Sequence[str]) -> None:
    xy_K2 = _places(one)
    _join(axes, xy_K2[one.pairs_P2])
    shown_K = np.minimum(one.generations, len(GENERATIONS))
    for number, marker in enumerate(GENERATIONS, 1):  # descendants are drawn last
        rows = np.flatnonzero(shown_K == number)
        if len(rows):
            _dots(axes, xy_K2, rows.tolist(), colors, marker, f"gen {number}", 1 + number)
    axes.legend(loc="upper left")


def _dots(
    axes: Axes,
    xy_K2: np.ndarray,
    rows: Sequence[int],
    colors: Sequence[str],
    marker: str,
    label: str,
    zorder: int,
) -> None:
    """Some rows of a map, and an empty marker for the legend."""
    x, y = xy_K2[rows].T
    axes.scatter(x, y, s=26, marker=marker, c=[colors[row] for row in rows], zorder=zorder)
    axes.scatter([], [], s=26, marker=marker, c="none", edgecolors=style.INK, label=label)


def _layers(axes: Axes, one: Map, colors: Sequence[str]) -> None:
    from matplotlib.collections import LineCollection

    xy_K2 = _places(one)
    names = [entry.identity.ref for entry in one.entries]
    for name in dict.fromkeys(names):
        rows = [k for k, other in enumerate(names) if other == name]
        xy_L2 = xy_K2[rows]
        depth_L = np.linspace(0.0, 1.0, len(rows))
        shades = [lighter(colors[rows[0]], FADE * depth) for depth in depth_L]
        axes.add_collection(
            LineCollection(
                list(np.stack([xy_L2[:-1], xy_L2[1:]], axis=1)),
                colors=shades[:-1], linewidths=0.6, alpha=0.6, zorder=1,
            )
        )  # fmt: skip
        x, y = xy_L2.T
        axes.scatter(x, y, s=12, c=shades, edgecolors=style.INK, linewidths=0.1, zorder=2)
        axes.scatter(
            x[-1:], y[-1:], s=22, marker="s", c=WHITE, edgecolors=style.INK, linewidths=0.5,
            zorder=3,
        )  # fmt: skip


def _join(axes: Axes, segments_P22: np.ndarray) -> None:
    from matplotlib.collections import LineCollection

    axes.add_collection(
        LineCollection(list(segments_P22), colors=style.INK, linewidths=0.3, zorder=10)
    )
    axes.autoscale_view()


# Figure 4 -----------------------------------------------------------------------------------------


def figure_4(consecutive: Consecutive, width: float = 8.0) -> Figure | None:
    """Draws the KL to the next saved checkpoint, at the earlier of the two; None if there is none.

    The left panel has those before the end of warmup, with log10(1 + step) and a linear KL axis;
    the right panel has the others, with a logarithmic KL axis.
    """
    runs = [run for run in consecutive.runs if len(run.kl_I)]
    if not runs:
        return None
    warmup = consecutive.warmup_steps or 0
    with style.look():
        figure = new_figure(width, 3.4)
        left, right = figure.subplots(1, 2)
        for place, run in enumerate(runs):
            during_I = run.start_I < warmup
            _line(left, run, during_I, place, np.log10(1.0 + run.start_I))
            _line(right, run, ~during_I, place, run.start_I)
        first = sorted({int(step) for run in runs for step in run.start_I if step < warmup})
        left.set_xticks(np.log10(1.0 + np.array(first)), [_short(step) for step in first],
                        rotation=-45, ha="left")  # fmt: skip
        left.set_title("During warmup")
        left.set_ylabel("KL (bits/byte)")
        style.plain_log_axis(right)
        right.set_title("After warmup")
        right.xaxis.set_major_formatter(lambda x, _: _short(int(x)))
        for axes in (left, right):
            axes.set_xlabel("step")
            axes.legend()
        sentence = captions.scores_are(consecutive.recipe, consecutive.group, cleaned=True)
        captions.write_above(figure, sentence)
    return figure


def _line(axes: Axes, run: RunSteps, chosen_I: np.ndarray, place: int, x_I: np.ndarray) -> None:
    color = style.PALETTE[place % len(style.PALETTE)]
    dashes = DASHES[place % len(DASHES)]
    axes.plot(
        x_I[chosen_I], run.kl_I[chosen_I], color=color, ls=dashes, lw=1.0, label=_size(run.run)
    )


def _short(step: int) -> str:
    """`120k` of 120,000."""
    return f"{step // 1000}k" if step >= 1000 and step % 1000 == 0 else f"{step}"

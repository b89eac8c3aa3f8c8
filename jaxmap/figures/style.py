"""The common style of the figures: colours that everybody can tell apart, one way to save."""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import math
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from jaxmap.atomic import write_atomic
from jaxmap.figures.digits import tick

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette without its yellow and black, which vanish on white or on dark paper.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK = "#1f2328"  # text and axes; the report swaps it for the colour of its own text
FAINT = "#8a9099"  # grid and guides; swapped likewise

# Fonts for names that DejaVu Sans has no letters of; those that are installed are used.
OTHER_SCRIPTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP",
    "Noto Sans Devanagari", "Noto Sans Thai", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
    "Hiragino Sans", "PingFang SC", "Microsoft YaHei", "Yu Gothic", "Malgun Gothic",
    "Arial Unicode MS",
)  # fmt: skip
NO_GLYPH = "Glyph .* missing from"  # of a PNG where no font has a letter; SVG files keep the text

RC: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "text.parse_math": False,  # the name of a model may hold dollar signs
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.alpha": 0.3,
    "grid.linewidth": 0.5,
    "svg.fonttype": "none",
    "svg.hashsalt": "jaxmap",  # the same data give the same bytes
    "pdf.fonttype": 42,
    "figure.dpi": 100.0,
    "savefig.dpi": 200.0,
}


@functools.cache
def installed_fonts() -> tuple[str, ...]:
    """Those of OTHER_SCRIPTS that this machine has."""
    from matplotlib import font_manager

    known = {font.name for font in font_manager.fontManager.ttflist}
    return tuple(name for name in OTHER_SCRIPTS if name in known)


@contextlib.contextmanager
def look() -> Iterator[None]:
    """Draw and save inside this, so that no setting leaks into the caller's matplotlib."""
    import matplotlib as mpl

    families = {"font.family": ["DejaVu Sans", *installed_fonts()]}
    fonts = logging.getLogger("fontTools")  # logs every glyph that a PDF keeps
    level = fonts.level
    fonts.setLevel(logging.WARNING)
    try:
        with mpl.rc_context(RC | families), warnings.catch_warnings():
            warnings.filterwarnings("ignore", NO_GLYPH)
            yield
    finally:
        fonts.setLevel(level)


def time_label(unit: str) -> str:
    """What stands under an axis of training: `training step` or `training tokens`."""
    return "training step" if unit == "step" else "training tokens"


def time_tick(time: float, unit: str) -> str:
    """A place on such an axis: 120,000 steps, 4.2B tokens."""
    if unit == "step":
        return f"{time:,.0f}"
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if abs(time) >= 0.9995 * size:
            return f"{time / size:.3g}{letter}"
    return f"{time:.3g}"


def log_time_axis(axes: Axes, unit: str, low: float, high: float) -> None:
    """Puts training times [low, high] on a logarithmic axis and labels it: steps as log(1 + step),
    with ticks at powers of two; tokens with ticks at 1, 2 and 5 times powers of ten."""
    from matplotlib.ticker import FuncFormatter, NullFormatter, SymmetricalLogLocator

    if unit == "step":
        log_step_axis(axes, low, high)
        axes.set_xlabel("training step, log(1 + step)")
        return
    from_here = max(low, high / 1e5, 1.0)  # below it the axis is linear, down to 0
    axes.set_xscale("symlog", linthresh=from_here)
    axes.set_xlim(left=0 if low <= 0 else None)
    few = high / from_here < 1e3
    subs = (1.0, 2.0, 5.0) if few else (1.0,)
    axes.xaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=from_here, subs=subs))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: time_tick(x, unit)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("training tokens, logarithmic")


def log_step_axis(axes: Axes, low: float, high: float) -> None:
    """Put training steps [low, high] on a log(1 + step) axis, with ticks at powers of two."""
    import numpy as np
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes.set_xscale("function", functions=(np.log1p, np.expm1))
    powers = [0] + [2**i for i in range(1 + int(np.ceil(np.log2(max(high, 1)))))]
    shown = [step for step in powers if low <= step <= high]
    keep = max(1, -(-len(shown) // 7))  # at most seven, ending with the last
    ticks = sorted(set(shown[::-1][::keep]) | set(shown[:1]))
    axes.xaxis.set_major_locator(FixedLocator([float(step) for step in ticks]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{round(x):,}"))
    axes.xaxis.set_minor_locator(NullLocator())


def plain_log_axis(axes: Axes) -> None:
    """Puts y on a logarithmic axis with ticks such as 0.01 and 10⁻⁴.

    Ticks are at powers of ten, also at 2 and 5 times these on an axis below 2.5 decades, and evenly
    spaced where that would still be fewer than two.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.set_yscale("log")
    low, high = axes.get_ylim()
    decades = math.log10(high / max(low, 1e-300))
    if decades < 0.5:
        axes.yaxis.set_major_locator(MaxNLocator(4))
    else:
        subs = (1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)
        axes.yaxis.set_major_locator(LogLocator(subs=subs, numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: tick(y)))
    axes.yaxis.set_minor_formatter(NullFormatter())


def write(figure: Figure, file: BinaryIO, kind: str) -> None:
    """Write a figure as "png", "svg" or "pdf"; the same figure gives the same bytes."""
    dated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind)
    with look():
        figure.savefig(file, format=kind, metadata=dated)


def save(figure: Figure, out: Path, formats: Iterable[str] = ("png", "svg", "pdf")) -> list[Path]:
    """Write OUT.png, OUT.svg and OUT.pdf (each whole or not at all) and return their paths."""
    out = Path(out)
    paths = []
    for suffix in formats:
        path = out.with_name(f"{out.name}.{suffix}")
        drawn = io.BytesIO()
        write(figure, drawn, suffix)
        write_atomic(path, drawn.getvalue())
        paths.append(path)
    return paths

"""The cost of smaller copies: KL from the reference against the size of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmap.figures import captions, style
from jaxmap.figures.figure import new_figure
from jaxmap.stats.pareto import pareto_front

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxmap.comparison.table import Comparison, Floor

FEWEST = 2  # models
WIDE = 8.0  # how many times the smallest size the largest is where the axis is logarithmic


def draw(found: Comparison, width: float = 7.2) -> Figure | None:
    """Draw the token KL (left) and the KL of the papers (right) against GiB.

    KL is on a logarithmic axis, and so is the size where models differ much in it. A line joins
    the models that no other beats in size and KL; bars are one standard error; a dashed line is the
    reference's floor. None with fewer than two models of a KL above 0.
    """
    models = [one.row for one in found.compared if one.layer is None]
    rows = [row for row in models if row.token_kl_nats > 0 and row.kl_bits_per_byte > 0]
    if len(rows) < FEWEST:
        return None
    gib_P = np.array([row.gib for row in rows])
    token_kl = [(row.token_kl_nats, row.token_kl_standard_error) for row in rows]
    kl = [(row.kl_bits_per_byte, row.kl_standard_error) for row in rows]
    labels = _labels([(row.model, row.format) for row in rows])
    with style.look():
        figure = new_figure(width, 3.9)
        left, right = figure.subplots(1, 2, sharex=True)
        floor = found.reference_floor
        _panel(left, gib_P, np.array(token_kl), labels, floor, "token_kl")
        _panel(right, gib_P, np.array(kl), labels, floor, "kl")
        left.set_ylabel("token KL from the reference (nats)")
        right.set_ylabel("KL over texts (bits per byte)")
        captions.write_above(figure, captions.RAW)
    return figure


def _panel(
    axes: Any,
    gib_P: np.ndarray,
    kl_P2: np.ndarray,
    labels: list[str],
    floor: Floor | None,
    of: str,
) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    kl_P, error_P = kl_P2.T
    front = pareto_front(gib_P, kl_P)
    low_P = np.minimum(np.nan_to_num(error_P), 0.9 * kl_P)  # a bar to 0 has no end on this axis
    axes.errorbar(
        gib_P, kl_P, yerr=[low_P, np.nan_to_num(error_P)], fmt="o", markersize=4.5,
        color=style.PALETTE[0], elinewidth=1.0, capsize=2.0, zorder=3,
    )  # fmt: skip
    axes.plot(gib_P[front], kl_P[front], color=style.PALETTE[1], linewidth=1.2, zorder=2)
    middle = np.sqrt(gib_P.min() * gib_P.max())
    for x, y, label in zip(gib_P, kl_P, labels, strict=True):
        right = x <= middle
        axes.annotate(
            label, (x, y), xytext=(6 if right else -6, 4 if right else -10),
            textcoords="offset points", ha="left" if right else "right", fontsize=7.5, zorder=4,
        )  # fmt: skip
    if floor is not None:
        value = getattr(floor, of).value
        if value > 0:
            axes.axhline(value, color=style.FAINT, linestyle=(0, (4, 2)), linewidth=1.0)
            axes.annotate(
                f"floor, {floor.dtype}", (0.99, value), xycoords=("axes fraction", "data"),
                xytext=(0, 3), textcoords="offset points", ha="right", fontsize=7.5,
                color=style.FAINT,
            )  # fmt: skip
    axes.margins(x=0.12)
    if gib_P.max() > WIDE * gib_P.min():
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.3g}"))
    axes.set_xlabel("size of the weights (GiB)")
    style.plain_log_axis(axes)


def _labels(models: list[tuple[str, str]]) -> list[str]:
    """For each name and format the format, where it is a copy's and no other's, else the end of the
    name."""
    formats = [kind for _, kind in models]
    labels = []
    for model, kind in models:
        name = model.rsplit("/", 1)[-1]
        is_copy = "+" in name or kind.lower() in name.lower()
        labels.append(kind if is_copy and formats.count(kind) == 1 else name)
    return labels

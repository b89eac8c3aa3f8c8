"""The part of the page about arithmetic: precision floors beside the medians of the scale."""

from __future__ import annotations

from collections.abc import Sequence

from jaxmap.analysis.floor import MARGIN, Floor, Floors, is_near
from jaxmap.analysis.scale import Scale
from jaxmap.figures.digits import number, with_error
from jaxmap.precision import PRECISIONS, REFERENCE
from jaxmap.reports.section import Section, csv_link, table
from jaxmap.reports.view import View

MOST_FLOORS = 20
AGAINST = ("precision", "largest_floor", "smallest_row", "share_of_it", "rows_near_the_floor")


def section(view: View) -> Section | None:
    """Floors of checkpoints that the store has in float32 and another precision; None if none."""
    floors = view.floors
    if not floors.found:
        return None
    shown = floors.found[:MOST_FLOORS]
    left_out = len(floors.found) - len(shown)
    heads = ("checkpoint", "precision", f"KL to {REFERENCE}, bits per byte")
    rows = [
        (
            name,
            floor.dtype,
            with_error(floor.kl, floor.standard_error),
        )
        for name, floor in zip(_names(shown), shown, strict=True)
    ]
    return Section(
        "Precision floor",
        "<p>KL of a checkpoint against itself in float32, bits per byte: "
        "what arithmetic alone does. A difference between two models that is not "
        f"{MARGIN:.0f} times larger than the floor of the precision that both were scored in may "
        "be rounding. Scores: raw. The largest first"
        + (f"; {left_out} smaller ones are not listed" if left_out else "")
        + ".</p>"
        + table(heads, rows, 2, download=csv_link("floor", floors.columns, floors.rows()))
        + _against(floors, view.scale if isinstance(view.scale, Scale) else None),
    )


def _against(floors: Floors, scale: Scale | None) -> str:
    """What each precision would do to the scale."""
    filled = scale.filled if scale else ()
    if not filled:
        return ""
    smallest = min(filled, key=lambda row: row.summary.median)
    rows, exact = [], []
    for dtype, floor in floors.largest().items():
        near = [row.setting.name for row in filled if is_near(row.summary.median, floor.kl)]
        share = floor.kl / smallest.summary.median if smallest.summary.median else float("inf")
        rows.append((dtype, number(floor.kl, 2), f"{100 * share:.2g} %", ", ".join(near) or "none"))
        exact.append((dtype, floor.kl, smallest.setting.name, share, " ".join(near)))
    heads = (
        *("precision", "largest floor", f"share of the smallest row ({smallest.setting.name})"),
        f"rows less than {MARGIN:g} times it",
    )
    told = [
        f"{dtype}: {PRECISIONS[dtype].summary}."
        for dtype in floors.largest()
        if dtype in PRECISIONS and PRECISIONS[dtype].passes
    ]
    return (
        "<p>The largest floor of each precision beside the medians of the scale:</p>"
        + table(heads, rows, download=csv_link("floor_and_scale", AGAINST, exact))
        + (f"<p>{' '.join(told)}</p>" if told else "")
    )


def _names(floors: Sequence[Floor]) -> list[str]:
    """The last folder of a checkpoint's label if that is unique, else the whole label."""
    labels = [floor.entry.label.removesuffix(f"+{floor.dtype}") for floor in floors]
    short = {label: label.rpartition("/")[2] for label in labels}
    return [short[x] if len(set(short.values())) == len(short) else x for x in labels]

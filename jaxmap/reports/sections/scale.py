"""How large a KL is: the ten settings of the papers, and figure 3."""

from __future__ import annotations

from jaxmap.analysis.floor import MARGIN
from jaxmap.analysis.scale import Scale
from jaxmap.figures.captions import RECIPES
from jaxmap.figures.digits import number, with_error
from jaxmap.reports.section import Picture, Section, csv_link, table
from jaxmap.reports.view import View

TITLE = "How large is a KL?"


def section(view: View) -> Section | None:
    """Table and figure of the settings; None where the store fills none."""
    scale = view.scale
    if isinstance(scale, str):
        return None
    known = any(row.floor is not None for row in scale.rows)
    rows = []
    for row in scale.filled:
        one = row.summary
        median = with_error(one.median, one.standard_error)
        rest = (number(value) for value in (one.mean, one.q25, one.q75))
        floor = "–" if row.floor is None else number(row.floor, 1) + " *" * row.near_floor
        how = (row.setting.group, "cleaned" if row.setting.cleaned else "raw")
        rows.append(
            (row.setting.name, median, *rest, f"{one.n:,}", *([floor] if known else []), *how)
        )
    html = (
        "<p>KL divergence in ten settings, in bits per byte "
        f"(± one standard error of the median over texts), by {RECIPES[scale.recipe]}. Group: what "
        "was cleaned together, where scores are cleaned.</p>"
        + table(
            (
                "setting",
                "median",
                "mean",
                "25 %",
                "75 %",
                "pairs",
                *(["floor"] if known else []),
                "group",
                "scores",
            ),
            rows,
            download=_file(scale),
        )
        + ("<p>Floor: what rounding alone makes of it, see below.</p>" if known else "")
        + (
            f"<p>* The median is less than {MARGIN:g} times its floor: it may be rounding.</p>"
            if any(row.near_floor for row in scale.rows)
            else ""
        )
    )
    caption = (
        "KL in each setting on a logarithmic axis: dots are pairs, of 30 pairs and more a violin "
        "shows the distribution; the line is the median, which is written above the largest "
        "value. A triangle at the lower end stands for pairs at a KL of 0. Later and early: "
        "neighbouring checkpoints at the end and after the warmup of training; ft: a model and its "
        f"only parent; layer: adjacent layers. {_scores(scale)}"
    )
    drawn = scale.draw().items()
    return Section(TITLE, html, tuple(Picture(name, TITLE, one, caption) for name, one in drawn))


def _scores(scale: Scale) -> str:
    """A sentence that says which settings have cleaned scores."""
    cleaned = [row.setting.name for row in scale.filled if row.setting.cleaned]
    raw = [row.setting.name for row in scale.filled if not row.setting.cleaned]
    if not raw or not cleaned:
        return f"Scores: {'raw' if raw else 'cleaned'}, by {RECIPES[scale.recipe]}."
    return (
        f"Scores by {RECIPES[scale.recipe]}: cleaned in {', '.join(cleaned)}; raw in "
        f"{', '.join(raw)}."
    )


def _file(scale: Scale) -> str:
    frame = scale.to_dataframe()
    return csv_link("scale", list(frame.columns), list(frame.itertuples(index=False, name=None)))

"""The page that `jaxmap reproduce` writes: the published tables and figures, methods and notes."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from jaxmap.figures.digits import fixed, number, with_error
from jaxmap.figures.figure import svg_of
from jaxmap.reports.methods_text import PUBLISHED
from jaxmap.reports.page import page_of
from jaxmap.reports.section import table
from jaxmap.reports.svg import inline_svg
from jaxmap.version import __version__

if TYPE_CHECKING:
    from jaxmap.reports.reproduction import Reproduction

MOST_NOTES = 200
TITLE = "The published results, reproduced"
LEAD = (
    "Tables and figures of Kishino et al., Establishing a Scale for Kullback-Leibler Divergence in "
    "Language Models Across Various Settings (2026), from the authors' released data and by their "
    "released recipe."
)
CAPTIONS = {
    "figure1": (
        "Figure 1. Training runs",
        "t-SNE of the training checkpoints of five sizes and seven seeds of Pythia (group: sizes "
        "and seeds, cleaned together). Lighter is earlier, the large marker is the last "
        "checkpoint; the wider a segment, the larger its KL, up to the 95 % quantile of all.",
    ),
    "figure2": (
        "Figure 2. Quantization, fine-tuning, layers",
        "t-SNE of (a) models and their 8-bit copies, (b) parents and children, (c) layers, the "
        "deeper the lighter, the last a white square; by type of model. Scores as released (raw).",
    ),
    "figure3": (
        "Figure 3. The scale of KL",
        "KL in the ten settings on a logarithmic axis: dots are pairs, of 30 pairs and more a "
        "violin shows the distribution; the line is the median, which is written above the largest "
        "value. Whether scores were cleaned is written below each setting.",
    ),
    "figure4": (
        "Figure 4. KL between neighbouring checkpoints",
        "KL from each saved checkpoint to the next one that is there, drawn at the earlier of the "
        "two (group: sizes, cleaned). Left: before step 2,000. Right: after.",
    ),
    "figure5": (
        "Figure 5. Diffusion",
        "Left: distance from step 120,000 to the ten checkpoints after it; the guide is c = 1. "
        "Right: the diffusion exponent c by start with one standard error (group: sizes, "
        "cleaned). Above: log-likelihoods (KL), below: weights. An excluded start is drawn by "
        "linear interpolation between its neighbours.",
    ),
}


def page(found: Reproduction) -> str:
    """One HTML file that opens offline."""
    parts = [f"<h1>{escape(TITLE)}</h1>", f'<p class="lead">{escape(LEAD)}</p>', _scale(found)]
    for count, (name, figure) in enumerate(found.draw().items(), 1):
        title, caption = CAPTIONS[name]
        caption = " ".join([caption, *found.said_of_coordinates(name)])
        parts.append(
            f"<h2>{escape(title)}</h2><figure>"
            f'<div class="wide">{inline_svg(svg_of(figure), f"p{count}")}</div>'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    parts += [_groups(found), _methods(), _notes(found)]
    return page_of(TITLE, parts)


def _scale(found: Reproduction) -> str:
    rows = []
    for row in found.scale.rows:
        one, setting = row.summary, row.setting
        if not one.n:
            rows.append((setting.name, "–", f"absent: {setting.reason}", *["–"] * 4, "0"))
            continue
        median = with_error(one.median, one.standard_error)
        numbers = (median, *map(number, (one.mean, one.q25, one.q75)))
        scores = "cleaned" if setting.cleaned else "raw"
        rows.append((setting.name, setting.group, scores, *numbers, f"{one.n:,}"))
    heads = ("setting", "group", "scores", "median", "mean", "25 %", "75 %", "pairs")
    return (
        "<h2>The scale of KL</h2><p>KL divergence in ten settings, bits per byte, by the published "
        "recipe. ±: standard error of the median with the texts as the sample.</p>"
        + table(heads, rows, 3)
    )


def _groups(found: Reproduction) -> str:
    frame = found.groups_dataframe()
    rows = [
        tuple(_cell(value) for value in row) for row in frame.itertuples(index=False, name=None)
    ]
    return (
        "<h2>Groups</h2><p>Runs that were cleaned together, each group with its own floor (nats), "
        "its own dropped texts and its own mean bytes. Models, copies and layers are taken as "
        "released.</p>" + table(tuple(frame.columns), rows)
    )


def _cell(value: object) -> str:
    if isinstance(value, float):
        return fixed(value, 4)
    return str(value)


def _methods() -> str:
    return f"<h2>Methods</h2><p>{escape(PUBLISHED)}</p><p>jaxmap {escape(__version__)}</p>"


def _notes(found: Reproduction) -> str:
    notes = [str(note) for note in found.notes]
    more = [f"and {len(notes) - MOST_NOTES} more"] if len(notes) > MOST_NOTES else []
    items = "".join(f"<li>{escape(one)}</li>" for one in [*notes[:MOST_NOTES], *more])
    return f'<h2>What was left out, and why</h2><ul class="plain">{items}</ul>'

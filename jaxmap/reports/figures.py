"""The figures of a store, drawn, with the words that teach how to read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.trajectories import consecutive_of
from jaxmap.figures import consecutive, style
from jaxmap.figures import learning as learning_figure
from jaxmap.figures.learning import Learning


@dataclass(frozen=True)
class Picture:
    """A figure on a page: SVG text and its caption, both without markup of the page."""

    title: str
    svg: str
    caption: str


def draw_pictures(
    pretraining: Pretraining | None, curves: Sequence[Learning], folder: Path
) -> list[Picture]:
    """Draws learning and consecutive KL into `folder` as PNG, SVG and PDF, and returns them for a
    page; none without runs."""
    if not curves or pretraining is None:
        return []
    warmup_until = pretraining.warmup
    learnt = learning_figure.draw(curves)
    moved = consecutive.draw(consecutive_of(pretraining), warmup_until=warmup_until)
    return [
        Picture(
            "Learning",
            saved_svg(learnt, folder / "learning"),
            "Bits that each checkpoint needs for a byte of the texts: the lower, the better it "
            "predicts them. Raw text takes 8. A band is one standard error, with the texts as "
            "the sample. The step axis is log(1 + step), so that the checkpoints of the first "
            "steps do not fall on one another. Bad checkpoints are left out, as below.",
        ),
        Picture(
            "How far each interval of training moves a model",
            saved_svg(moved, folder / "consecutive"),
            "KL divergence between each saved checkpoint and the one before it, drawn at the step "
            "where the interval ends. A high point is an interval in which the model's "
            f"predictions changed much. Left: up to step {warmup_until:,}; where checkpoints lie "
            "at powers of two, intervals double in length, so a rising line is not by itself a "
            "faster change. Right: evenly spaced checkpoints, where heights compare directly. "
            "Bands are one standard error. Scores are cleaned first, as below; what was left out "
            "is a gap. An interval with KL exactly 0 (a first update at "
            "learning rate 0) cannot be shown on a logarithmic axis and is left out.",
        ),
    ]


def saved_svg(figure: object, base: Path) -> str:
    """Saves a figure as BASE.png, .svg and .pdf and returns the SVG."""
    paths = style.save(figure, base)  # type: ignore[arg-type]
    return next(path for path in paths if path.suffix == ".svg").read_text(encoding="utf-8")

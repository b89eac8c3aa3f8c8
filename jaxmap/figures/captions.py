"""Captions of figures and tables: whether scores are raw, or how they were cleaned."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxmap.analysis.recipes import Recipe

RAW = "Scores: raw, neither clipped nor left out."
RECIPES: dict[Recipe, str] = {"jaxmap": "jaxmap's own recipe", "published": "the published recipe"}


def scores_are(recipe: Recipe, group: str, cleaned: bool) -> str:
    """A sentence such as `Scores: cleaned by the published recipe, group: sizes.`"""
    if cleaned:
        return f"Scores: cleaned by {RECIPES[recipe]}, group: {group}."
    return f"Scores: raw, as they are in the store ({RECIPES[recipe]}, group: {group})."


def write_above(figure: Figure, sentence: str) -> None:
    """Writes a sentence above the panels, so that a saved figure says it without its caption.

    It is below what was written there before.
    """
    written = [line for line in (figure.get_suptitle(), sentence) if line]
    figure.suptitle("\n".join(written), fontsize=7.5, x=0.01, ha="left")

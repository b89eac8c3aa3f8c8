"""Which recipe cleans the results of a store and chooses its pairs.

`jaxmap` is this package's own: all runs of a store are cleaned together, all models are raised to
one floor, copies and layers too, and random pairs are drawn without repetition. `published` is
that of the authors of Kishino et al. (arXiv 2505.15353), which gives the very numbers of the paper
from their released data.
"""

from __future__ import annotations

from typing import Literal, cast

from jaxmap.analysis.pythia import RECIPES
from jaxmap.errors import InputError
from jaxmap.store import Store
from jaxmap.store.release import is_released

Recipe = Literal["jaxmap", "published"]


def recipe_of(name: str, store: Store) -> Recipe:
    """The recipe of that name; for `auto` the published one where the store is of released data."""
    if name not in RECIPES:
        raise InputError(f"is unknown; known: {', '.join(RECIPES)}", field="recipe", value=name)
    if name == "auto":
        return "published" if is_released(store.path) else "jaxmap"
    return cast(Recipe, name)

"""The recipes by which the results of a store are cleaned and its pairs are chosen.

"jaxmap" is this package's own: all runs of a store are cleaned together, the scores of all models,
copies and layers are raised to one lower limit, and random pairs are drawn without repetition.
"published" is that of the authors of Kishino et al. (arXiv 2505.15353), which gives exactly the
numbers of the paper from their released data.
"""

from __future__ import annotations

from typing import Literal, cast

from jaxmap.analysis.published import SIZES, full_name
from jaxmap.analysis.pythia import RECIPES
from jaxmap.errors import InputError
from jaxmap.store import Store
from jaxmap.store.released_data import PRETRAINING, read_release

Recipe = Literal["jaxmap", "published"]


def recipe_of(name: str, store: Store) -> Recipe:
    """The recipe of this name; "auto" is the published one for a store of the authors' data.

    Data of other people in the authors' layout do not count: if a release has runs, one of the five
    sizes of Pythia must be among them.
    """
    if name not in RECIPES:
        raise InputError(f"is unknown; known: {', '.join(RECIPES)}", field="recipe", value=name)
    if name == "auto":
        return "published" if _is_the_authors(store) else "jaxmap"
    return cast(Recipe, name)


def _is_the_authors(store: Store) -> bool:
    release = read_release(store.path)
    if release is None:
        return False
    runs = release.files.get(PRETRAINING)
    return not runs or any(full_name(run) in SIZES for run in runs)

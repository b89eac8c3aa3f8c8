"""New models on an existing map, at the cost of few texts: resample, place."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from jaxmap.api.arguments import Path, StoreLike, Texts, open_for_reading, texts_of
from jaxmap.api.contexts import saved
from jaxmap.errors import InputError
from jaxmap.output_paths import check_file, check_folder

if TYPE_CHECKING:
    from jaxmap.analysis.place import Placing
    from jaxmap.analysis.resample import ChosenTexts
    from jaxmap.stats.resample import Scheme

METHODS: dict[str, Scheme] = {"uniform": "uniform", "ls": "LS", "kl": "KL"}


def resample(
    store: StoreLike,
    texts: Texts,
    n: int,
    *,
    out: Path | None = None,
    method: str = "kl",
    seed: int = 0,
) -> ChosenTexts:
    """Chooses few texts on which a new model can be placed on a map (Oyama et al. 2025).

    Texts are drawn with replacement until `n` different ones have come up. `score` new models on
    them, into a store of their own, and `place` finds the models' positions. The file that
    `write(FILE.jsonl)` makes of them holds their weights too.

    Args:
      store: the store of the map's models, scored on all texts.
      texts: those texts.
      n: how many different texts to choose, which is the cost of a new model.
      out: a .jsonl file to write them to.
      method: "uniform", all alike; "ls", by their share of the variance; "kl", by how far they tell
        models apart.
      seed: of the draw; the same one chooses the same texts.

    Raises InputError when the texts are not the store's, are not all different, or cannot be drawn.
    """
    from jaxmap.analysis.resample import check_ending, choose

    if method.lower() not in METHODS:
        raise InputError(f"use one of {', '.join(METHODS)}", field="method", value=method)
    if out is not None:
        check_ending(out)
        check_file(out)
    scheme = METHODS[method.lower()]
    chosen = choose(open_for_reading(store), texts_of(texts), n, scheme, seed)
    if out is not None:
        chosen.write(FilePath(out))
    return chosen


def place(
    store: StoreLike, texts: Path | ChosenTexts, new: StoreLike, *, out: Path | None = None
) -> Placing:
    """Places models that were scored on few texts on an existing map, with standard errors.

    `save` writes placed.csv (KL of each new model to each model of the map), coordinates.csv and
    the figure.

    Args:
      store: the store of the map's models, scored on all texts.
      texts: what `resample` chose, or the .jsonl file of it.
      new: the store of the new models, scored on those texts only.
      out: a folder to save the result in.

    Raises InputError when texts and stores do not fit together.
    """
    from jaxmap.analysis.place import place_new

    if out is not None:
        check_folder(out)
    return saved(place_new(open_for_reading(store), texts, open_for_reading(new)), out)

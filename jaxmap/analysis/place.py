"""`jaxmap place`: positions of models that were scored on few texts, on an existing map."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.analysis import genealogy
from jaxmap.analysis.resample import ChosenTexts, map_of, plain, read_sample
from jaxmap.corpus.texts import load_texts
from jaxmap.errors import InputError
from jaxmap.figures.digits import with_error
from jaxmap.figures.figure import Figures, save_figures
from jaxmap.results import Result
from jaxmap.stats.centre import coordinates
from jaxmap.stats.divergence import Divergence
from jaxmap.stats.embed import Embedding, pca
from jaxmap.stats.resample import place, project
from jaxmap.stats.units import variance_per_kl
from jaxmap.store import Store
from jaxmap.store.text_facts import difference
from jaxmap.tables import to_frame, write_csv

if TYPE_CHECKING:
    import pandas

COLUMNS = ("model", "other", "kl_bits_per_byte", "standard_error")
PLACE_COLUMNS = ("model", "new", "x", "y", "error_x", "error_y")


@dataclass(frozen=True)
class Placed:
    """A new model on the map.

    Fields:
      model: its label.
      divergence: the KL to each model of the map with its standard error, [K] in bits per byte.
      xy_2, error_2: its position in the map's plane and the error, [2] in sqrt(bits/byte).
    """

    model: str
    divergence: Divergence
    xy_2: np.ndarray
    error_2: np.ndarray


@dataclass(frozen=True)
class Placing(Result):
    """New models on a map.

    Fields:
      others: the labels of the map's models, [K].
      kinds: their types ("": unknown).
      embedding: their principal components.
      placed: the new models.
    """

    others: tuple[str, ...]
    kinds: tuple[str, ...]
    embedding: Embedding
    placed: tuple[Placed, ...]

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per new model and model of the map, with the columns of placed.csv."""
        return to_frame(COLUMNS, self._kl_rows())

    def places_dataframe(self) -> pandas.DataFrame:
        """One row per model, with the columns of coordinates.csv."""
        return to_frame(PLACE_COLUMNS, self._place_rows())

    def draw(self) -> Figures:
        """placed: the map's principal components, and the new models on them."""
        from jaxmap.figures import place

        return Figures(placed=place.draw(self))

    def save(self, folder: str | Path) -> list[Path]:
        """Writes placed.csv, coordinates.csv and placed.png, .svg and .pdf."""
        folder = Path(folder)
        return [
            write_csv(folder / "placed.csv", COLUMNS, self._kl_rows()),
            write_csv(folder / "coordinates.csv", PLACE_COLUMNS, self._place_rows()),
            *save_figures(self.draw(), folder),
        ]

    def text(self) -> str:
        """The nearest model of the map for each new one, one per line."""
        lines = []
        for one in self.placed:
            kl_K, error_K = one.divergence
            k = int(kl_K.argmin())
            lines.append(
                f"{one.model}: nearest is {self.others[k]}, KL "
                f"{with_error(float(kl_K[k]), float(error_K[k]))} bits per byte"
            )
        return "\n".join([*lines, ""])

    def _kl_rows(self) -> Iterator[tuple[object, ...]]:
        for one in self.placed:
            columns = (column.tolist() for column in one.divergence)
            for other, kl, error in zip(self.others, *columns, strict=True):
                yield one.model, other, kl, error

    def _place_rows(self) -> Iterator[tuple[object, ...]]:
        for other, (x, y) in zip(self.others, self.embedding.xy_K2.tolist(), strict=True):
            yield other, "no", x, y, None, None
        for one in self.placed:
            yield one.model, "yes", *one.xy_2.tolist(), *one.error_2.tolist()


def place_new(store: Store, chosen: str | os.PathLike[str] | ChosenTexts, new: Store) -> Placing:
    """Places the plain results of `new`, scored on chosen texts only, among those of `store`.

    All scores are raised to the lower limit from cleaning the map. Raises InputError if the new
    store was scored on other texts than the chosen ones, or these are not texts of the map.
    """
    if isinstance(chosen, ChosenTexts):
        sample, texts = chosen.sample, chosen.text_set
        chosen = texts.source
    else:
        sample, texts = read_sample(chosen), load_texts(chosen)
    if texts.fingerprint != new.texts.fingerprint:
        raise InputError(f"{new.path}: scored on {difference(new.texts, texts)} than {chosen}")
    num_texts = len(store.texts.text_bytes)
    if not len(sample.texts) or sample.texts.max() >= num_texts:
        raise InputError(f"{chosen}: names texts that {store.path} does not have")
    if not np.array_equal(store.texts.text_bytes[sample.texts], new.texts.text_bytes):
        raise InputError(f"{chosen}: chosen from other texts than those of {store.path}")
    others, ll_KN, floor = map_of(store)
    entries = plain(new)
    new_KU = np.maximum(new.log_likelihoods(entries), floor)
    mean_bytes = store.texts.mean_bytes
    embedding, axis_N2, centre_N = _plane(ll_KN, mean_bytes)
    axis_U2, centre_U = axis_N2[sample.texts], centre_N[sample.texts]
    ll_KU = ll_KN[:, sample.texts]
    placed = [
        Placed(
            entry.label,
            place(ll_KU, new_U, sample, num_texts, mean_bytes),
            *project(axis_U2, new_U - centre_U, sample),
        )
        for entry, new_U in zip(entries, new_KU, strict=True)
    ]
    types = genealogy.types_of(store.path, others)
    kinds = tuple(types.get(entry.identity.ref, "") for entry in others)
    return Placing(tuple(entry.label for entry in others), kinds, embedding, tuple(placed))


def _plane(ll_KN: np.ndarray, mean_bytes: float) -> tuple[Embedding, np.ndarray, np.ndarray]:
    """The principal components of the map's models, the axes [N, 2], and the centre [N].

    The scores l [N] of any model, minus the centre, times the axes give its position.
    """
    x_KN = coordinates(ll_KN, mean_bytes)
    embedding = pca(x_KN)
    square_2 = np.einsum("kd,kd->d", embedding.xy_K2, embedding.xy_K2)
    axis_N2 = x_KN.T @ embedding.xy_K2 / np.where(square_2 > 0, square_2, 1.0)
    unit = ll_KN.shape[1] * variance_per_kl(mean_bytes)
    return embedding, axis_N2 / np.sqrt(unit), ll_KN.mean(axis=0)

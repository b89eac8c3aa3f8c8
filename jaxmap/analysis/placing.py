"""`jaxmap place`: models that were scored on few texts, among those of a map."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxmap.analysis import genealogy
from jaxmap.analysis.resample import map_of, plain, read_sample
from jaxmap.corpus.texts import load_texts
from jaxmap.errors import InputError
from jaxmap.stats.centre import coordinates
from jaxmap.stats.divergence import Divergence
from jaxmap.stats.embed import Embedding, pca
from jaxmap.stats.resample import place, project
from jaxmap.stats.units import variance_per_kl
from jaxmap.store import Store
from jaxmap.tables import write_csv

COLUMNS = ("model", "other", "kl_bits_per_byte", "standard_error")
PLACE_COLUMNS = ("model", "new", "x", "y", "error_x", "error_y")


@dataclass(frozen=True)
class Placed:
    """One new model: KL to each model of the map and its error, [K], bits per byte; its place in
    the map's plane and the error of that, [2], sqrt(bits/byte)."""

    model: str
    divergence: Divergence
    xy_2: np.ndarray
    error_2: np.ndarray


@dataclass(frozen=True)
class Placing:
    """New models on a map: `others` [K] are its models, `kinds` their types ("": not known),
    `embedding` their principal components."""

    others: tuple[str, ...]
    kinds: tuple[str, ...]
    embedding: Embedding
    placed: tuple[Placed, ...]

    def text(self) -> str:
        """For people: the nearest model of the map for each new one."""
        lines = []
        for one in self.placed:
            kl_K, error_K = one.divergence
            k = int(kl_K.argmin())
            lines.append(
                f"{one.model}: nearest is {self.others[k]}, KL {kl_K[k]:.3g} +- {error_K[k]:.1g} "
                "bits per byte"
            )
        return "\n".join([*lines, ""])


def place_new(store: Store, chosen: str | os.PathLike[str], new: Store) -> Placing:
    """Places the plain results of `new`, scored on chosen texts only, among those of `store`.

    All scores are raised to the floor of the map. Raises InputError when the new store was scored
    on other texts than the chosen ones, or these are not of the map's.
    """
    sample = read_sample(chosen)
    if load_texts(chosen).fingerprint != new.texts.fingerprint:
        raise InputError(f"{new.path}: scored on other texts than {chosen}")
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


def write_placing(
    store: Store, chosen: str | os.PathLike[str], new: Store, out: str | os.PathLike[str]
) -> Placing:
    """Writes OUT/placed.csv, OUT/coordinates.csv and OUT/placed.png, .svg and .pdf."""
    from jaxmap.figures import placed as figure
    from jaxmap.figures import style

    out = Path(out)
    placing = place_new(store, chosen, new)
    write_csv(out / "placed.csv", COLUMNS, _kl_rows(placing))
    write_csv(out / "coordinates.csv", PLACE_COLUMNS, _place_rows(placing))
    drawn = [(one.model, one.xy_2, one.error_2) for one in placing.placed]
    style.save(figure.draw(placing.embedding, placing.kinds, drawn), out / "placed")
    return placing


def _plane(ll_KN: np.ndarray, mean_bytes: float) -> tuple[Embedding, np.ndarray, np.ndarray]:
    """Principal components of the map's models; for any model's scores l [N], the weights [N, 2]
    with which l less the centre [N] gives its place."""
    x_KN = coordinates(ll_KN, mean_bytes)
    embedding = pca(x_KN)
    square_2 = np.einsum("kd,kd->d", embedding.xy_K2, embedding.xy_K2)
    axis_N2 = x_KN.T @ embedding.xy_K2 / np.where(square_2 > 0, square_2, 1.0)
    unit = ll_KN.shape[1] * variance_per_kl(mean_bytes)
    return embedding, axis_N2 / np.sqrt(unit), ll_KN.mean(axis=0)


def _kl_rows(placing: Placing) -> Iterable[Sequence[object]]:
    for one in placing.placed:
        columns = (column.tolist() for column in one.divergence)
        for other, kl, error in zip(placing.others, *columns, strict=True):
            yield one.model, other, repr(kl), repr(error)


def _place_rows(placing: Placing) -> Iterable[Sequence[object]]:
    for other, xy in zip(placing.others, placing.embedding.xy_K2.tolist(), strict=True):
        yield other, "no", *map(repr, xy), "", ""
    for one in placing.placed:
        yield one.model, "yes", *map(repr, (*one.xy_2.tolist(), *one.error_2.tolist()))

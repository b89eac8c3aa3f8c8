"""The maps that a store can fill: which models are on each, where they lie, who is joined."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxmap.analysis import genealogy
from jaxmap.analysis.context import Reading
from jaxmap.analysis.model_pairs import of_models
from jaxmap.analysis.pretraining import Pretraining
from jaxmap.stats import embed
from jaxmap.stats.centre import coordinates
from jaxmap.stats.clean import WARMUP
from jaxmap.stats.embed import PERPLEXITY, PERPLEXITY_FAMILIES, Embedding
from jaxmap.store import Store
from jaxmap.store.record import Entry

FEWEST = 3  # models of a map: with two there is only a distance


@dataclass(frozen=True)
class Map:
    """Models on one map.

    name: trajectories, models, 8-bit, 4-bit, families or layers.
    ll_KN: float64, nats, cleaned by the recipe that belongs to the map.
    mean_bytes: of the texts kept.
    pairs_P2: rows that belong together: model and quantised version, parent and child, adjacent
      layers, successive checkpoints.
    """

    name: str
    entries: tuple[Entry, ...]
    kinds: tuple[str, ...]  # type of each model, "" when not known
    ll_KN: np.ndarray
    mean_bytes: float
    pairs_P2: np.ndarray
    perplexity: float = PERPLEXITY

    @cached_property
    def embeddings(self) -> tuple[Embedding, ...]:
        """t-SNE, where there are enough models for one, and principal components."""
        x_KN = coordinates(self.ll_KN, self.mean_bytes)
        found = (embed.tsne(x_KN, self.perplexity), embed.pca(x_KN))
        return tuple(one for one in found if one is not None)


@dataclass(frozen=True)
class Atlas:
    """The maps of a store, in the order of the papers; for the others the reason why not."""

    maps: tuple[Map, ...]
    absent: dict[str, str]
    pretraining: Pretraining | None
    notes: tuple[str, ...]

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Types of all models on the maps, each model once: a type has one colour on all."""
        found: dict[str, str] = {}
        for one in self.maps:
            found |= zip((entry.identity.ref for entry in one.entries), one.kinds, strict=True)
        return tuple(found.values())

    def find(self, name: str) -> Map | None:
        """The map of that name; None when it is absent."""
        return next((one for one in self.maps if one.name == name), None)


def make_atlas(
    store: Store,
    *,
    warmup: int = WARMUP,
    parents: str | os.PathLike[str] | None = None,
    ask: Callable[[str], tuple[str, ...]] | None = None,
    reading: Reading | None = None,
) -> Atlas:
    """Reads and cleans what each map shows; embeddings are computed when they are asked for.

    Trajectories are cleaned by the recipe for pretraining, all other maps are raised to the floor
    of the models. `parents` is a file that overrides model cards, `ask` replaces the Hub (see
    `genealogy.parents_of`), `reading` is of this store with this warmup.
    """
    reading = reading or Reading(store, warmup)
    notes: list[str] = []
    absent: dict[str, str] = {}
    maps: list[Map] = []
    pretraining = reading.pretraining

    def keep(
        name: str,
        of: Sequence[Entry],
        ll_KN: np.ndarray,
        mean_bytes: float,
        pairs_P2: np.ndarray,
        perplexity: float = PERPLEXITY,
    ) -> None:
        if len(of) < FEWEST:
            absent[name] = f"{len(of)} models have no map, it takes {FEWEST}"
            return
        types = genealogy.types_of(store.path, of)
        kinds = tuple(types.get(entry.identity.ref, "") for entry in of)
        maps.append(Map(name, tuple(of), kinds, ll_KN, mean_bytes, pairs_P2, perplexity))

    if pretraining is None:
        absent["trajectories"] = "the store holds no two checkpoints of one training run"
    else:
        notes += pretraining.describe()
        pairs = [
            (a, b)
            for rows in pretraining.rows
            for a, b in itertools.pairwise(rows.tolist())
            if a >= 0 and b >= 0
        ]
        keep(
            "trajectories", _entries_of(pretraining), pretraining.ll_KN,
            pretraining.mean_bytes, _pairs(pairs),
        )  # fmt: skip

    singles = reading.singles
    if len(singles) < FEWEST:
        absent["models"] = f"{len(singles)} models that are no checkpoints have no map"
    else:
        cleaned = reading.cleaned(singles)
        kept = [singles[row] for row in cleaned.rows]
        keep("models", kept, cleaned.ll_KN, store.texts.mean_bytes, _pairs([]))

    settings = of_models(reading, parents, ask, notes)
    for name, of in (("8-bit", "8-bit"), ("4-bit", "4-bit"), ("families", "ft"),
                     ("layers", "layer")):  # fmt: skip
        one = settings[of]
        if not len(one.pairs_P2):
            absent[name] = one.reason
            continue
        perplexity = PERPLEXITY_FAMILIES if name == "families" else PERPLEXITY
        pairs_P2 = one.pairs_P2[:, ::-1] if name == "families" else one.pairs_P2  # parent first
        keep(name, one.entries, one.ll_KN, one.mean_bytes, pairs_P2, perplexity)
    notes = [note for note in notes if not note.startswith("intra-type")]
    return Atlas(tuple(maps), absent, pretraining, tuple(notes))


def _entries_of(pre: Pretraining) -> list[Entry]:
    found: dict[int, Entry] = {}
    for run, rows in zip(pre.runs, pre.rows, strict=True):
        for row, entry in zip(rows.tolist(), run.entries, strict=True):
            if row >= 0 and entry is not None:
                found[row] = entry
    return [found[row] for row in range(len(pre.ll_KN))]


def _pairs(pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    return np.array(pairs, np.int64).reshape(-1, 2)

"""The published recipe for models: quantised copies, parents and children, and layers.

As the authors of Kishino et al. (arXiv 2505.15353) have it in their released pipeline. The rows of
the model map are taken as released (clipped from below), copies and layers as released (not
clipped), and pairs within and over types are the very ones that the authors drew. Without a
release the rows are those of the store's models, in its order.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmap.analysis.genealogy import read_parents
from jaxmap.analysis.notes import Note
from jaxmap.analysis.pair_settings import Setting
from jaxmap.stats.scale import published_pairs
from jaxmap.store.labels import of_one_engine
from jaxmap.store.released_data import LAYERS, Release

if TYPE_CHECKING:
    from jaxmap.analysis.context import Context
    from jaxmap.store.record import Entry

Pair = tuple["Entry", "Entry"]
AS_RELEASED = "models"  # the group of all settings here: no runs, nothing cleaned
COPIES = {"8-bit": "int8", "4-bit": "fp4"}


@dataclass(frozen=True)
class Edge:
    """A child and its only parent, by row number of the model map; the child's type, if known."""

    child: int
    parent: int
    kind: str | None


class ReleasedModels:
    """Models, copies and layers of a store in the order of the release that it came from."""

    def __init__(self, context: Context):
        self.context = context
        self.release = context.release or Release(
            models=tuple(entry.identity.ref for entry in context.singles),
            types=context.types_of(context.singles),
        )
        if context.release is None or context.parents_file is not None:
            self.release = replace(self.release, parents=_parents(context, self.release.models))
        self.names = self.release.models
        self.row = {name: k for k, name in enumerate(self.names)}
        plain, layers = {}, defaultdict[str, dict[int, "Entry"]](dict)
        copies: dict[str, dict[str, Entry]] = {name: {} for name in COPIES}
        for entry in of_one_engine(context.entries):
            ref, variant = entry.identity.ref, entry.variant
            if entry.identity.revision is not None:
                continue
            if variant.is_plain:
                plain[ref] = entry
            elif variant.is_own_layer and variant.layer is not None:
                layers[ref][variant.layer] = entry
            elif variant.is_output:
                for name, quantisation in COPIES.items():
                    if variant.quantisation == quantisation:
                        copies[name][ref] = entry
        self.plain, self.copies = plain, copies
        self.layers = {ref: dict(sorted(of.items())) for ref, of in layers.items()}

    def vectors(self, entries: Sequence[Entry]) -> np.ndarray:
        """float64 [K, N], nats: rows of the model map clipped as released, all else as it is."""
        ll_KN = self.context.vectors(entries)
        if self.release.floor is not None:
            is_model_K = [entry.variant.is_plain for entry in entries]
            ll_KN[is_model_K] = np.maximum(ll_KN[is_model_K], self.release.floor)
        return ll_KN

    def copy_pairs(self, name: str) -> list[Pair]:
        """Models in the order of the list, each with its copy."""
        copies = self.copies[name]
        return [
            (self.plain[model], copies[model])
            for model in self.names
            if model in copies and model in self.plain
        ]

    def edges(self) -> list[Edge]:
        """In the order of the parents' file: a child with one parent, both in the list."""
        types = self.release.types or {}
        found = []
        for child, named in (self.release.parents or {}).items():
            parent = named[0] if isinstance(named, list) and len(named) == 1 else named
            if isinstance(parent, str) and child in self.row and parent in self.row:
                found.append(Edge(self.row[child], self.row[parent], types.get(child)))
        return found

    def entry_pairs(self, rows: Sequence[tuple[int, int]]) -> list[Pair]:
        """Pairs of row numbers as results, without those whose results are not in the store."""
        named = ((self.names[a], self.names[b]) for a, b in rows)
        return [
            (self.plain[a], self.plain[b]) for a, b in named if a in self.plain and b in self.plain
        ]

    def layer_pairs(self) -> list[Pair]:
        """Neighbours among the layers that are there."""
        known = self.release.files.get(LAYERS) or self.names
        order = [*known, *(model for model in self.layers if model not in known)]
        return [
            pair
            for model in order
            if model in self.layers
            for pair in itertools.pairwise(self.layers[model].values())
        ]

    def setting(
        self, name: str, pairs: Sequence[Pair], reason: str, notes: Sequence[Note] = ()
    ) -> Setting:
        """Pairs with the vectors that they name."""
        if not pairs:
            return Setting(name, reason=reason, notes=tuple(notes))
        used = list({entry.path: entry for pair in pairs for entry in pair}.values())
        place = {entry.path: k for k, entry in enumerate(used)}
        pairs_P2 = np.array([[place[a.path], place[b.path]] for a, b in pairs], np.int64)
        return Setting(
            name,
            tuple(used),
            self.vectors(used),
            pairs_P2,
            self.context.mean_bytes,
            notes=tuple(notes),
            group=AS_RELEASED,
            cleaned=False,
        )


def settings_of_released(models: ReleasedModels) -> dict[str, Setting]:
    """8-bit, 4-bit, ft, intra-type, random and layer."""
    found = {}
    for name, variant in COPIES.items():
        pairs, notes = models.copy_pairs(name), []
        if alone := len(models.copies[name]) - len(pairs):
            notes.append(Note(name, f"{alone} copies of models that are not there left out"))
        reason = f"the store has no model both plain and in {variant}"
        found[name] = models.setting(name, pairs, reason, notes)
    layer = models.setting("layer", models.layer_pairs(), "no model has two layers scored")
    return found | _families(models) | {"layer": layer}


def _families(models: ReleasedModels) -> dict[str, Setting]:
    """ft and the pairs drawn beside it; children without a type are in none of them."""
    every = models.edges()
    edges = [edge for edge in every if edge.kind is not None]
    by_type: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for edge in edges:
        by_type[str(edge.kind)].append((edge.child, edge.parent))
    within, anywhere = published_pairs(list(by_type.values()))
    merges = [
        child
        for child, named in (models.release.parents or {}).items()
        if isinstance(named, list) and len(named) > 1 and child in models.row
    ]
    notes = []
    if merges:
        notes.append(Note("ft", f"{len(merges)} merges with several parents are left out"))
    if untyped := len(every) - len(edges):
        notes.append(Note("ft", f"{untyped} children whose type is not known are left out"))
    lonely = [kind for kind, of in by_type.items() if len({row for edge in of for row in edge}) < 2]
    drawn = [Note("intra-type, random", "pairs by random.Random(0), as the authors drew them")]
    if lonely:
        drawn.append(Note("intra-type", f"types of one model are left out: {', '.join(lonely)}"))
    reason = "no model's only parent is in the store"
    found = {}
    for name, pairs, said in (
        ("ft", [(edge.child, edge.parent) for edge in edges], notes),
        ("intra-type", within, drawn),
        ("random", anywhere, []),
    ):
        there = models.entry_pairs(pairs)
        if lost := len(pairs) - len(there):
            said.append(Note(name, f"{lost} pairs with a model that is not in the store left out"))
        found[name] = models.setting(name, there, reason, said)
    return found


def _parents(context: Context, models: Sequence[str]) -> dict[str, Any]:
    if context.parents_file is not None:
        parents = read_parents(context.parents_file)
    else:
        parents = context.parents_of(models)
    return {child: list(found) for child, found in parents.items()}

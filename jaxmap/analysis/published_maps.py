"""The published recipe for maps: figures 1 and 2 of Kishino et al. (arXiv 2505.15353).

Which rows are on each map, in which order, at which perplexity; and the released coordinates, where
they are of the very same rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.analysis.maps import Map
from jaxmap.analysis.published import RunGroup, full_name
from jaxmap.analysis.published_models import AS_RELEASED, COPIES, ReleasedModels
from jaxmap.stats.embed import PERPLEXITY, PERPLEXITY_FAMILIES
from jaxmap.store.released_data import Coordinates

if TYPE_CHECKING:
    from jaxmap.store.record import Entry

Joined = Sequence[tuple[int, int]]


def map_of_runs(models: ReleasedModels, group: RunGroup | None) -> Map | str:
    """Figure 1: seeds first, then sizes, each run by step."""
    if group is None:
        return "the store holds none of the published runs of Pythia"
    pre = group.cleaned
    runs = {run.full_name: len(run.steps) for run in pre.runs}
    released = models.release.coordinates.get("trajectories")
    xy = None
    if released is not None:
        named = [full_name(name) for name in released.names]
        if dict(zip(named, released.lengths, strict=True)) == runs and list(runs) == named:
            xy = released.xy_M2
    return _map(
        models, "trajectories", pre.entries, pre.ll_KN, pre.mean_bytes, pre.row_pairs(), xy,
        group=group.name,
    )  # fmt: skip


def map_of_copies(models: ReleasedModels, name: str) -> Map | str:
    """Figure 2a: the models first, then their copies, both in the order of the list."""
    pairs = models.copy_pairs(name)
    if not pairs:
        return f"the store has no model both plain and in {COPIES[name]}"
    entries = [*(plain for plain, _ in pairs), *(copy for _, copy in pairs)]
    count = len(pairs)
    names = [plain.identity.ref for plain, _ in pairs]
    points = _points(models.release.coordinates.get(name), names, [2] * count)
    xy = None if points is None else np.concatenate([points[0::2], points[1::2]])
    return _of_entries(models, name, entries, [(k, k + count) for k in range(count)], xy)


def map_of_families(models: ReleasedModels) -> Map | str:
    """Figure 2b: every model with an edge, in the order of the list; the parent of a pair first."""
    edges = [edge for edge in models.edges() if edge.child != edge.parent]
    rows = sorted({row for edge in edges for row in (edge.child, edge.parent)})
    names = [models.names[row] for row in rows]
    there = [name for name in names if name in models.plain]
    if not there:
        return "no model's only parent is in the store"
    place = {name: k for k, name in enumerate(there)}
    joined = [
        (place[models.names[edge.parent]], place[models.names[edge.child]])
        for edge in edges
        if models.names[edge.parent] in place and models.names[edge.child] in place
    ]
    xy = _points(models.release.coordinates.get("families"), there, [1] * len(there))
    entries = [models.plain[name] for name in there]
    return _of_entries(models, "families", entries, joined, xy, PERPLEXITY_FAMILIES)


def map_of_layers(models: ReleasedModels) -> Map | str:
    """Figure 2c: all layers of the models, in the order of the list."""
    of = {name: models.layers[name] for name in models.names if name in models.layers}
    if not of:
        return "no model of the list has a layer scored"
    entries = [entry for layers in of.values() for entry in layers.values()]
    lengths = [len(layers) for layers in of.values()]
    joined = [
        pair
        for last, length in zip(itertools.accumulate(lengths), lengths, strict=True)
        for pair in itertools.pairwise(range(last - length, last))
    ]
    xy = _points(models.release.coordinates.get("layers"), list(of), lengths)
    return _of_entries(models, "layers", entries, joined, xy)


def map_of_models(models: ReleasedModels) -> Map | str:
    """All models of the list, as released."""
    entries = [models.plain[name] for name in models.names if name in models.plain]
    if not entries:
        return "the store holds none of the models of the list"
    return _of_entries(models, "models", entries, [], None)


def _points(
    released: Coordinates | None, names: Sequence[str], lengths: Sequence[int]
) -> np.ndarray | None:
    """Released points [M, 2] in the order of these names; None unless they are of just these."""
    if released is None or set(released.names) != set(names):
        return None
    ends = np.cumsum(released.lengths)[:-1]
    parts = dict(zip(released.names, np.split(released.xy_M2, ends), strict=True))
    if [len(parts[name]) for name in names] != list(lengths):
        return None
    return np.concatenate([parts[name] for name in names])


def _of_entries(
    models: ReleasedModels,
    name: str,
    entries: Sequence[Entry],
    joined: Joined,
    xy: np.ndarray | None,
    perplexity: float = PERPLEXITY,
) -> Map:
    ll_KN = models.vectors(entries)
    pairs_P2 = np.array(joined, np.int64).reshape(-1, 2)
    return _map(models, name, entries, ll_KN, models.context.mean_bytes, pairs_P2, xy, perplexity)


def _map(
    models: ReleasedModels,
    name: str,
    entries: Sequence[Entry],
    ll_KN: np.ndarray,
    mean_bytes: float,
    pairs_P2: np.ndarray,
    xy: np.ndarray | None,
    perplexity: float = PERPLEXITY,
    group: str = AS_RELEASED,
) -> Map:
    types = models.release.types or {}
    kinds = tuple(types.get(entry.identity.ref) or "" for entry in entries)
    finite = xy is not None and bool(np.isfinite(xy).all())
    return Map(
        name,
        tuple(entries),
        kinds,
        ll_KN,
        mean_bytes,
        pairs_P2,
        perplexity,
        recipe="published",
        group=group,
        cleaned=group != AS_RELEASED,
        released_xy_K2=np.asarray(xy, np.float64) if xy is not None and finite else None,
    )

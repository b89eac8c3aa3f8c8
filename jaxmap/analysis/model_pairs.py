"""Settings 5 to 10 of the KL scale (Kishino et al., arXiv 2505.15353, fig. 3): models."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxmap.analysis import genealogy
from jaxmap.analysis.context import Reading
from jaxmap.analysis.run_pairs import Setting
from jaxmap.stats.clean import Cleaned
from jaxmap.stats.scale import random_pairs
from jaxmap.store.record import Entry

Pair = tuple[Entry, Entry]


def of_models(
    reading: Reading,
    parents: str | os.PathLike[str] | None,
    ask: Callable[[str], tuple[str, ...]] | None,
    notes: list[str],
) -> dict[str, Setting]:
    """8-bit, 4-bit, ft, intra-type, random and layer, clipped at the floor of all plain models.

    `parents` is a file that overrides model cards, `ask` replaces the Hub (see
    `genealogy.parents_of`); what was dropped and chosen goes to the notes, a line each.
    """
    entries = reading.entries
    base = {_base_key(entry): entry for entry in entries if entry.variant.is_own_output}
    quantised = [
        entry
        for entry in entries
        if entry.variant.is_quantised and entry.variant.is_output and _base_key(entry) in base
    ]
    # Layers as published: of the models themselves, through the logit lens.
    layered = [entry for entry in entries if entry.variant.is_own_layer]
    singles = reading.singles
    used = {base[_base_key(e)].path: base[_base_key(e)] for e in (*quantised, *layered)
            if _base_key(e) in base}  # fmt: skip
    models = list(({entry.path: entry for entry in singles} | used).values())
    names = ("8-bit", "4-bit", "ft", "intra-type", "random", "layer")
    if not models and not layered:
        reason = "the store holds training checkpoints only"
        return {name: Setting(name, reason=reason) for name in names}
    cleaned = reading.cleaned(models or layered)
    notes += [f"left out, not finite: {name}" for name in cleaned.dropped.not_finite]
    notes.append(
        f"models: {cleaned.dropped.clipped} scores of {len(cleaned.rows)} models below the floor "
        f"of {cleaned.dropped.floor:.2f} nats, to which all are raised"
    )
    reader = _Models(reading, models, cleaned)
    fours = {entry.variant.quantisation for entry in quantised} & {"fp4", "nf4"}
    four = "fp4" if "fp4" in fours or not fours else "nf4"
    found = {}
    for name, variant in (("8-bit", "int8"), ("4-bit", four)):
        pairs = [(base[_base_key(e)], e) for e in quantised if e.variant.quantisation == variant]
        found[name] = reader.setting(name, pairs, f"no model is there both plain and in {variant}")
        if name == "4-bit" and pairs:
            notes.append(f"4-bit: {variant}")
    found |= _of_families(reader, singles, parents, ask, notes)
    layers: dict[tuple[object, ...], dict[int, Entry]] = defaultdict(dict)
    for entry in layered:
        layers[_base_key(entry)][entry.variant.layer or 0] = entry
    adjacent = [
        (of[layer], of[layer + 1])
        for of in layers.values()
        for layer in sorted(of)
        if layer + 1 in of
    ]
    found["layer"] = reader.setting("layer", adjacent, "no model has two adjacent layers scored")
    return found


def _base_key(entry: Entry) -> tuple[str, str | None, str]:
    one = entry.identity
    return one.ref, one.revision, one.variant.precision


@dataclass
class _Models:
    """Reads vectors raised to the floor of the map's models, whose own are at hand."""

    reading: Reading
    models: list[Entry]
    cleaned: Cleaned

    def __post_init__(self) -> None:
        self.row = (
            {self.models[k].path: i for i, k in enumerate(self.cleaned.rows)} if self.models else {}
        )

    def has(self, entry: Entry) -> bool:
        return entry.path in self.row

    def setting(self, name: str, pairs: Sequence[Pair], reason: str) -> Setting:
        bad = {entry.path for entry in self.models} - set(self.row)
        pairs = [pair for pair in pairs if not bad & {entry.path for entry in pair}]
        if not pairs:
            return Setting(name, reason=reason)
        used = list({entry.path: entry for pair in pairs for entry in pair}.values())
        ll_KN = np.empty((len(used), self.cleaned.ll_KN.shape[1]))
        for row_N, entry in zip(ll_KN, used, strict=True):
            if self.has(entry):
                row_N[:] = self.cleaned.ll_KN[self.row[entry.path]]
            else:
                (scores_N,) = self.reading.vectors([entry])
                np.maximum(scores_N, self.cleaned.dropped.floor, out=row_N)
        place = {entry.path: i for i, entry in enumerate(used)}
        pairs_P2 = np.array([[place[a.path], place[b.path]] for a, b in pairs], np.int64)
        return Setting(name, tuple(used), ll_KN, pairs_P2, self.reading.store.texts.mean_bytes)


def _of_families(
    reader: _Models,
    singles: Sequence[Entry],
    parents_file: str | os.PathLike[str] | None,
    ask: Callable[[str], tuple[str, ...]] | None,
    notes: list[str],
) -> dict[str, Setting]:
    """ft, intra-type and random, the last two with as many pairs as the first."""
    singles = [entry for entry in singles if entry.variant.is_plain and reader.has(entry)]
    names = ("ft", "intra-type", "random")
    if len(singles) < 2:
        reason = "the store does not hold two models that are no training checkpoints"
        return {name: Setting(name, reason=reason) for name in names}
    by_name = {entry.identity.ref: entry for entry in singles}
    path = reader.reading.store.path
    parents = genealogy.parents_of(path, by_name, parents_file, ask)
    types = genealogy.types_of(path, singles)
    families = [
        (by_name[child], by_name[found[0]])
        for child, found in parents.items()
        if child in by_name and len(found) == 1 and found[0] in by_name and found[0] != child
    ]
    families.sort(key=lambda pair: pair[0].label)
    merges = sum(len(found) > 1 for child, found in parents.items() if child in by_name)
    if merges:
        notes.append(f"ft: {merges} merges with several parents are left out")
    if not families:
        reason = (
            "no model's only parent is in the store: score it too, or name a file with --parents"
        )
        counted = f"as many pairs as parents and children, and {reason}"
        return {"ft": Setting("ft", reason=reason)} | {
            name: Setting(name, reason=counted) for name in names[1:]
        }
    of_type: dict[str, list[Entry]] = defaultdict(list)
    for entry in singles:
        if entry.identity.ref in types:
            of_type[types[entry.identity.ref]].append(entry)
    count: dict[str, int] = defaultdict(int)
    for child, _ in families:
        if child.identity.ref in types:
            count[types[child.identity.ref]] += 1
    intra = [
        (of_type[kind][i], of_type[kind][j])
        for kind in sorted(count)
        for i, j in random_pairs(len(of_type[kind]), count[kind])
    ]
    notes.append("intra-type, random: pairs by numpy.random.default_rng(0), anew for each type")
    anywhere = [(singles[i], singles[j]) for i, j in random_pairs(len(singles), len(families))]
    return {
        "ft": reader.setting("ft", families, "no pair"),
        "intra-type": reader.setting("intra-type", intra, "the types of the models are not known"),
        "random": reader.setting("random", anywhere, "no pair"),
    }

"""The settings 8-bit to layer of the KL scale: pairs of models, of copies and of layers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxmap.analysis.context import Context
from jaxmap.analysis.notes import Note
from jaxmap.analysis.pair_settings import OF_MODELS, Setting
from jaxmap.analysis.quantised_copies import Named, Pair
from jaxmap.stats.clean import Cleaned
from jaxmap.stats.scale import random_pairs
from jaxmap.store.record import Entry
from jaxmap.variant import Variant

BaseKey = tuple[str, str | None, Variant]  # ref, revision, the model's own output


@dataclass(frozen=True)
class ModelSettings:
    """The settings by name, and notes about raising all scores to one lower limit."""

    settings: dict[str, Setting]
    cleaning: tuple[Note, ...] = ()

    @property
    def notes(self) -> tuple[Note, ...]:
        """All notes: those about cleaning first, then those of each setting."""
        return (*self.cleaning, *(note for one in self.settings.values() for note in one.notes))


def settings_of_models(context: Context) -> ModelSettings:
    """The settings 8-bit, 4-bit, ft, intra-type, random and layer.

    All scores are raised to the lower limit from cleaning the plain models.
    """
    entries = context.entries
    base = {_base_key(entry): entry for entry in entries if entry.variant.is_own_output}
    quantised = [
        entry
        for entry in entries
        if entry.variant.is_quantised and entry.variant.is_output and _base_key(entry) in base
    ]
    # As published, layers are those of the models themselves through the logit lens.
    layered = [entry for entry in entries if entry.variant.is_own_layer]
    copies = context.copies
    made = {copy.path for _, copy in copies}
    singles = [entry for entry in context.singles if entry.path not in made]
    of_copies = {one.path: one for one, _ in copies}
    used = of_copies | {base[_base_key(e)].path: base[_base_key(e)] for e in (*quantised, *layered)
            if _base_key(e) in base}  # fmt: skip
    models = list(({entry.path: entry for entry in singles} | used).values())
    if not models and not layered:
        reason = "the store holds training checkpoints only"
        return ModelSettings({name: Setting(name, reason=reason) for name in OF_MODELS})
    cleaned = context.cleaned(models or layered)
    reader = _Models(context, models, cleaned)
    found = {
        **_of_copies(reader, quantised, base, copies),
        **_of_families(reader, singles),
        "layer": _of_layers(reader, layered),
    }
    raised = (
        f"{cleaned.dropped.clipped:,} scores of {len(cleaned.rows):,} models below the floor "
        f"of {cleaned.dropped.floor:,.2f} nats, to which all are raised"
    )
    cleaning = [Note("left out, not finite", name) for name in cleaned.dropped.not_finite]
    return ModelSettings(found, (*cleaning, Note("models", raised)))


def _base_key(entry: Entry) -> BaseKey:
    one = entry.identity
    return one.ref, one.revision, one.variant.own_output


@dataclass
class _Models:
    """Reads vectors, raised to the lower limit of the map's models, which are already cleaned."""

    context: Context
    models: list[Entry]
    cleaned: Cleaned

    def __post_init__(self) -> None:
        self.row = (
            {self.models[k].path: i for i, k in enumerate(self.cleaned.rows)} if self.models else {}
        )

    def has(self, entry: Entry) -> bool:
        return entry.path in self.row

    def setting(
        self, name: str, pairs: Sequence[Pair], reason: str, notes: tuple[Note, ...] = ()
    ) -> Setting:
        bad = {entry.path for entry in self.models} - set(self.row)
        pairs = [pair for pair in pairs if not bad & {entry.path for entry in pair}]
        if not pairs:
            return Setting(name, reason=reason, notes=notes)
        used = list({entry.path: entry for pair in pairs for entry in pair}.values())
        ll_KN = np.empty((len(used), self.cleaned.ll_KN.shape[1]))
        for row_N, entry in zip(ll_KN, used, strict=True):
            if self.has(entry):
                row_N[:] = self.cleaned.ll_KN[self.row[entry.path]]
            else:
                (scores_N,) = self.context.vectors([entry])
                np.maximum(scores_N, self.cleaned.dropped.floor, out=row_N)
        place = {entry.path: i for i, entry in enumerate(used)}
        pairs_P2 = np.array([[place[a.path], place[b.path]] for a, b in pairs], np.int64)
        mean_bytes = self.context.mean_bytes
        return Setting(name, tuple(used), ll_KN, pairs_P2, mean_bytes, notes=notes, group="models")


def _of_copies(
    reader: _Models,
    quantised: Sequence[Entry],
    base: dict[BaseKey, Entry],
    released: Sequence[Pair],
) -> dict[str, Setting]:
    """The settings 8-bit and 4-bit: a model and its copy, made by jaxmap or published.

    The copies in 4 bits are fp4 if there are any.
    """
    fours = {entry.variant.quantisation for entry in quantised} & {"fp4", "nf4"}
    four = "fp4" if "fp4" in fours or not fours else "nf4"
    found = {}
    for name, variant, bits in (("8-bit", "int8", 8), ("4-bit", four, 4)):
        pairs = [(base[_base_key(e)], e) for e in quantised if e.variant.quantisation == variant]
        notes: tuple[Note, ...] = (Note(name, variant),) if name == "4-bit" and pairs else ()
        as_released = [pair for pair in released if pair[1].bits == bits]
        pairs += as_released
        if as_released:
            kinds = ", ".join(dict.fromkeys(copy.file_type for _, copy in as_released))
            count = len(as_released)
            copies = "one released copy" if count == 1 else f"{count} released copies"
            notes += (Note(name, f"{copies}: {kinds}"),)
        reason = f"the store has no model both plain and in {variant}, or in a released copy"
        found[name] = reader.setting(name, pairs, reason, notes)
    return found


def _of_layers(reader: _Models, layered: Sequence[Entry]) -> Setting:
    """The setting layer: adjacent layers of a model."""
    layers: dict[tuple[object, ...], dict[int, Entry]] = defaultdict(dict)
    for entry in layered:
        layers[_base_key(entry)][entry.variant.layer or 0] = entry
    adjacent = [
        (of[layer], of[layer + 1])
        for of in layers.values()
        for layer in sorted(of)
        if layer + 1 in of
    ]
    return reader.setting("layer", adjacent, "no model has two adjacent layers scored")


def _of_families(reader: _Models, singles: Sequence[Entry]) -> dict[str, Setting]:
    """The settings ft, intra-type and random; the last two have as many pairs as the first."""
    singles = [entry for entry in singles if entry.variant.is_plain and reader.has(entry)]
    names = ("ft", "intra-type", "random")
    if len(singles) < 2:
        reason = "the store does not hold two models that are not training checkpoints"
        return {name: Setting(name, reason=reason) for name in names}
    by_name = {entry.identity.ref: entry for entry in singles}
    parents = reader.context.parents_of(by_name)
    types = reader.context.types_of(singles)
    named = Named(singles)
    families = []
    for child, found in parents.items():
        if child in by_name and len(found) == 1 and found[0] != child:
            variant = by_name[child].identity.variant
            parent = by_name.get(found[0]) or named.find(found[0], variant)
            if parent is not None and parent is not by_name[child]:
                families.append((by_name[child], parent))
    families.sort(key=lambda pair: pair[0].label)
    merges = sum(len(found) > 1 for child, found in parents.items() if child in by_name)
    left_out = (Note("ft", f"{merges} merges with several parents are left out"),) if merges else ()
    if not families:
        reason = (
            "no model's only parent is in the store: score it too, or name a file with `parents`"
        )
        counted = f"as many pairs as parents and children, and {reason}"
        return {"ft": Setting("ft", reason=reason, notes=left_out)} | {
            name: Setting(name, reason=counted) for name in names[1:]
        }
    drawn = Note("intra-type, random", "pairs by numpy.random.default_rng(0), anew for each type")
    anywhere = [(singles[i], singles[j]) for i, j in random_pairs(len(singles), len(families))]
    unknown = "the types of the models are not known"
    return {
        "ft": reader.setting("ft", families, "no pair", left_out),
        "intra-type": reader.setting(
            "intra-type", _within_types(singles, families, types), unknown, (drawn,)
        ),
        "random": reader.setting("random", anywhere, "no pair"),
    }


def _within_types(
    singles: Sequence[Entry], families: Sequence[Pair], types: dict[str, str]
) -> list[Pair]:
    """Random pairs of models of one type; each type has as many pairs as children in `families`."""
    of_type: dict[str, list[Entry]] = defaultdict(list)
    for entry in singles:
        if entry.identity.ref in types:
            of_type[types[entry.identity.ref]].append(entry)
    count: dict[str, int] = defaultdict(int)
    for child, _ in families:
        if child.identity.ref in types:
            count[types[child.identity.ref]] += 1
    return [
        (of_type[kind][i], of_type[kind][j])
        for kind in sorted(count)
        for i, j in random_pairs(len(of_type[kind]), count[kind])
    ]

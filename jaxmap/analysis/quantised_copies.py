"""Finds published quantised copies in a store, and their base models."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from jaxmap.checkpoint.refs import is_folder
from jaxmap.store.record import Entry
from jaxmap.variant import Variant

Pair = tuple[Entry, Entry]  # a base and its copy


def released_copies(
    entries: Sequence[Entry], parents: Mapping[str, tuple[str, ...]] | None = None
) -> list[Pair]:
    """Models stored in fewer than 16 bits, each with its base model, if that is in the store.

    The base is named by the copy's card, its config.json or `parents`, and was scored by the same
    engine in the same precision. A model whose card gives a relation other than quantized is not a
    copy. The largest copy comes last.
    """
    outputs = [entry for entry in entries if entry.variant.is_own_output]
    named = Named(outputs)
    pairs = []
    for entry in outputs:
        relation = entry.provenance.model.get("base_relation", "quantized")
        bases = (parents or {}).get(entry.identity.ref, bases_of(entry))
        if entry.bits is None or relation != "quantized" or len(bases) != 1:
            continue
        base = named.find(bases[0], entry.identity.variant)
        if base is not None and base.bits is None and base is not entry:
            pairs.append((base, entry))
    return sorted(pairs, key=lambda pair: pair[1].bits_per_weight or 0.0)


def bases_of(entry: Entry) -> tuple[str, ...]:
    """The base models named in a record; () if there are none."""
    return tuple(map(str, entry.provenance.model.get("base", ())))


class Named:
    """Finds results by the names of their models; a folder however its path is written."""

    def __init__(self, entries: Iterable[Entry]):
        self._found: dict[tuple[str, str | None, Variant], Entry] = {}
        for entry in entries:
            one = entry.identity
            key = (_place(one.ref), one.revision, one.variant)
            self._found.setdefault(key, entry)

    def find(self, name: str, variant: Variant) -> Entry | None:
        """A result by its model's name and variant; a revision that no result has is ignored."""
        before, at, revision = name.rpartition("@")
        for ref, wanted in ((name, None), *([(before, revision), (before, None)] if at else [])):
            if found := self._found.get((_place(ref), wanted, variant)):
                return found
        return None


def _place(name: str) -> str:
    return os.path.realpath(name) if is_folder(name) else name

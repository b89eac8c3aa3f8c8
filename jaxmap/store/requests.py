"""Requests to a store, and failures. An item is the unit that is scored, retried and reported."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from jaxmap.naming import Name, parse
from jaxmap.store.json_files import CorruptError, decode_json
from jaxmap.store.record import Entry, checkpoint_name, file_stem, hash_facts, now
from jaxmap.store.statistics import DEFAULT
from jaxmap.variant import AUTO, JAX, LOGIT, PLAIN, Variant

PARTIAL = "partial"  # the folder of unfinished scores


@dataclass(frozen=True)
class Item:
    """A requested variant of a checkpoint, before the checkpoint is resolved."""

    ref: str
    revision: str | None = None
    variant: Variant = PLAIN  # without a layer; with a lens it stands for the output and all layers
    statistics: tuple[str, ...] = DEFAULT  # in the order of `jaxmap.store.statistics`

    @property
    def key(self) -> str:
        """sha256 hex of the canonical JSON form."""
        return hash_facts(self.facts)

    @property
    def facts(self) -> dict[str, Any]:
        """The item as JSON values, see `Identity.facts`."""
        one = self.variant
        return {
            "ref": self.ref,
            "revision": self.revision,
            "dtype": one.precision,
            "quantisation": one.quantisation,
            "lens": bool(one.lens),
            **({"tuned": one.tuned} if one.tuned else {}),
            **({"engine": one.engine} if one.engine != JAX else {}),
            **({"statistics": self.statistics} if self.statistics != DEFAULT else {}),
        }

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Item:
        """The inverse of `facts`; raises KeyError if one is missing."""
        lens = facts.get("tuned", "") or (LOGIT if facts["lens"] else "")
        engine = facts.get("engine", JAX)
        variant = Variant(facts["dtype"], facts["quantisation"], None, lens, engine)
        statistics = tuple(facts.get("statistics", DEFAULT))
        return cls(facts["ref"], facts["revision"], variant, statistics)

    @property
    def name(self) -> Name:
        """The parsed name of the checkpoint."""
        return parse(self.ref, self.revision)

    @property
    def label(self) -> str:
        """A label for messages, like those of results, with the further statistics."""
        more = [name for name in self.statistics if name not in DEFAULT]
        label = checkpoint_name(self.ref, self.revision) + self.variant.label
        return f"{label} [{', '.join(more)}]" if more else label

    def matches(self, entry: Entry) -> bool:
        """Whether the entry is a part of this item, whatever its statistics."""
        identity, wanted = entry.identity, self.variant
        one = entry.variant if wanted.precision == AUTO else identity.variant
        return (
            (identity.ref, identity.revision) == (self.ref, self.revision)
            and (one.precision, one.quantisation) == (wanted.precision, wanted.quantisation)
            and one.engine == wanted.engine
            and (one.is_output or one.tuned == wanted.tuned)
        )


def is_complete(item: Item, entries: Iterable[Entry], commit: str | None = None) -> bool:
    """Whether the results of one checkpoint are complete for an item.

    The output, and with a lens the layers 0 to L, must have all requested statistics for one
    commit: the given one, or any.
    """
    layers: dict[tuple[str, str], set[int | None]] = defaultdict(set)
    depth: dict[tuple[str, str], int | None] = {}
    statistics = set(item.statistics)
    for entry in entries:
        one = entry.identity
        there = item.matches(entry) and statistics <= entry.statistics
        if there and commit in (None, one.commit):
            layers[one.commit, one.variant.precision].add(one.variant.layer)
            depth[one.commit, one.variant.precision] = entry.provenance.num_layers
    lens = item.variant.lens
    for run, found in layers.items():
        last = depth[run]
        wanted = range(last + 1) if lens and last is not None else ()
        if None in found and (not lens or last is not None) and found.issuperset(wanted):
            return True
    return False


def partial_path(store_path: Path, item: Item) -> Path:
    """The file of an item's unfinished scores, the same for all commits."""
    return store_path / PARTIAL / f"{file_stem(item.label, item.key)}.npz"


@dataclass(frozen=True)
class Failure:
    """An item that could not be scored, with the reason in one line."""

    item: Item
    reason: str
    kind: Literal["input", "failure"] = "failure"
    commit: str | None = None
    created: str = field(default_factory=lambda: now())
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """The failure as JSON values."""
        kept = ("reason", "kind", "commit", "created", "versions")
        return {"item": self.item.facts, **{name: getattr(self, name) for name in kept}}


def decode_failure(path: Path) -> Failure:
    """Reads the file of a failure; raises CorruptError."""
    facts = decode_json(path)
    try:
        facts.pop("format")
        return Failure(Item.of_facts(facts.pop("item")), **facts)
    except (TypeError, KeyError) as error:
        raise CorruptError(f"not a failure ({error})") from error


@dataclass(frozen=True)
class RequestedItems:
    """The items that a run requested, and its command line; "" if there was none."""

    items: tuple[Item, ...]
    command: str = ""


def decode_requested(path: Path) -> RequestedItems:
    """Reads the file of a run's requests; raises CorruptError."""
    facts = decode_json(path)
    try:
        items = tuple(Item.of_facts(item) for item in facts["items"])
        return RequestedItems(items, str(facts.get("command", "")))
    except (TypeError, KeyError) as error:
        raise CorruptError(f"not a list of what was asked for ({error})") from error

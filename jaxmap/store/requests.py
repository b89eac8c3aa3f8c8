"""What was asked of a store, and what failed; the units of work, retry and report."""

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
from jaxmap.variant import AUTO, LOGIT, PLAIN, Variant

PARTIAL = "partial"  # the folder of unfinished scores


@dataclass(frozen=True)
class Item:
    """What was asked for, before the checkpoint is found: the unit of work, retry and failure."""

    ref: str
    revision: str | None = None
    variant: Variant = PLAIN  # of no layer; with a lens, the output and all layers
    statistics: tuple[str, ...] = DEFAULT  # in the order of `jaxmap.store.statistics`

    @property
    def key(self) -> str:
        """sha256 hex of the canonical JSON form."""
        return hash_facts(self.facts)

    @property
    def facts(self) -> dict[str, Any]:
        """As plain values, see `Identity.facts`."""
        one = self.variant
        return {
            "ref": self.ref,
            "revision": self.revision,
            "dtype": one.precision,
            "quantisation": one.quantisation,
            "lens": bool(one.lens),
            **({"tuned": one.tuned} if one.tuned else {}),
            **({"statistics": self.statistics} if self.statistics != DEFAULT else {}),
        }

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Item:
        """The inverse of `facts`; KeyError where one is missing."""
        lens = facts.get("tuned", "") or (LOGIT if facts["lens"] else "")
        variant = Variant(facts["dtype"], facts["quantisation"], None, lens)
        statistics = tuple(facts.get("statistics", DEFAULT))
        return cls(facts["ref"], facts["revision"], variant, statistics)

    @property
    def name(self) -> Name:
        """What the checkpoint's name says."""
        return parse(self.ref, self.revision)

    @property
    def label(self) -> str:
        """For messages, in the manner of the labels of results; with what else is asked for."""
        more = [name for name in self.statistics if name not in DEFAULT]
        label = checkpoint_name(self.ref, self.revision) + self.variant.label
        return f"{label} [{', '.join(more)}]" if more else label

    def matches(self, entry: Entry) -> bool:
        """Whether the entry is a part of what was asked for, with whichever statistics."""
        identity, wanted = entry.identity, self.variant
        one = entry.variant if wanted.precision == AUTO else identity.variant
        return (
            (identity.ref, identity.revision) == (self.ref, self.revision)
            and (one.precision, one.quantisation) == (wanted.precision, wanted.quantisation)
            and (one.is_output or one.tuned == wanted.tuned)
        )


def is_complete(item: Item, entries: Iterable[Entry], commit: str | None = None) -> bool:
    """Whether these results of one checkpoint hold all of an item, of any one commit or of the
    given one: the output, with a lens the layers 0..L, each with all statistics asked for."""
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
    """Where the unfinished scores of an item are kept: one place, whatever the commit, so that
    none is lost sight of."""
    return store_path / PARTIAL / f"{file_stem(item.label, item.key)}.npz"


@dataclass(frozen=True)
class Failure:
    """An item that could not be scored, and why, in one line."""

    item: Item
    reason: str
    kind: Literal["input", "failure"] = "failure"
    commit: str | None = None
    created: str = field(default_factory=lambda: now())
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def facts(self) -> dict[str, Any]:
        """As plain values."""
        kept = ("reason", "kind", "commit", "created", "versions")
        return {"item": self.item.facts, **{name: getattr(self, name) for name in kept}}


def decode_failure(path: Path) -> Failure:
    """Reads a failure; raises CorruptError."""
    facts = decode_json(path)
    try:
        facts.pop("format")
        return Failure(Item.of_facts(facts.pop("item")), **facts)
    except (TypeError, KeyError) as error:
        raise CorruptError(f"not a failure ({error})") from error


@dataclass(frozen=True)
class Asked:
    """What a run asked for, and the command line that does it again; "" where there was none."""

    items: tuple[Item, ...]
    command: str = ""


def decode_asked(path: Path) -> Asked:
    """Reads what a run asked for; raises CorruptError."""
    facts = decode_json(path)
    try:
        items = tuple(Item.of_facts(item) for item in facts["items"])
        return Asked(items, str(facts.get("command", "")))
    except (TypeError, KeyError) as error:
        raise CorruptError(f"not a list of what was asked for ({error})") from error

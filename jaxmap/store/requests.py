"""What was asked of a store, and what failed; the units of work, retry and report."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from jaxmap.errors import InputError
from jaxmap.store.record import (
    CorruptError,
    Entry,
    checkpoint_name,
    decode_json,
    hash_facts,
    now,
    without_default,
)

# What a model is scored as: itself, or a copy with its linear layers in 8 or 4 bit.
QUANTISATIONS = ("none", "int8", "nf4", "fp4")


def parse_quantisations(names: Iterable[str]) -> tuple[str, ...]:
    """These quantisations, each once; InputError lists the known ones."""
    names = tuple(dict.fromkeys(names))
    known = ", ".join(QUANTISATIONS)
    for name in names:
        if name not in QUANTISATIONS:
            raise InputError(f"{name!r} is unknown; known: {known}", field="quantize")
    if not names:
        raise InputError(f"names nothing; known: {known}", field="quantize")
    return names


@dataclass(frozen=True)
class Item:
    """What was asked for, before the checkpoint is found: the unit of work, retry and failure."""

    ref: str
    revision: str | None = None
    dtype: str = "auto"
    quantisation: str = "none"
    lens: bool = False
    tuned: str = ""  # sha256 of a tuned lens' translators; "": the logit lens

    @property
    def key(self) -> str:
        """sha256 hex of the canonical JSON form."""
        return hash_facts(self.facts)

    @property
    def facts(self) -> dict[str, Any]:
        """As plain values, see `Identity.facts`."""
        return without_default(asdict(self), "tuned")

    @property
    def label(self) -> str:
        """For messages, in the manner of the labels of results."""
        dtype = "" if self.dtype == "auto" else f"+{self.dtype}"
        variant = "" if self.quantisation == "none" else f"+{self.quantisation}"
        lens = ("+tuned" if self.tuned else "") + "#lens" * self.lens
        return checkpoint_name(self.ref, self.revision) + dtype + variant + lens

    def matches(self, entry: Entry) -> bool:
        """Whether the entry is a part of what was asked for."""
        identity = entry.identity
        return (
            (identity.ref, identity.revision) == (self.ref, self.revision)
            and identity.quantisation == self.quantisation
            and (identity.layer is None or identity.tuned == self.tuned)
            and (
                entry.provenance.is_default_dtype
                if self.dtype == "auto"
                else identity.dtype == self.dtype
            )
        )


@dataclass(frozen=True)
class Failure:
    """An item that could not be scored, and why, in one line."""

    item: Item
    reason: str
    kind: Literal["input", "failure"] = "failure"
    commit: str | None = None
    created: str = field(default_factory=lambda: now())
    versions: dict[str, str] = field(default_factory=dict)


def decode_failure(path: Path) -> Failure:
    """Reads a failure; raises CorruptError."""
    facts = decode_json(path)
    try:
        facts.pop("format")
        return Failure(Item(**facts.pop("item")), **facts)
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
        items = tuple(Item(**item) for item in facts["items"])
        return Asked(items, str(facts.get("command", "")))
    except (TypeError, KeyError) as error:
        raise CorruptError(f"not a list of what was asked for ({error})") from error

"""What a store holds: a result, what it depends on, and how it came about."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.naming import GRAMMAR, Name, Names
from jaxmap.store.statistics import LOG_LIKELIHOOD, VECTORS
from jaxmap.variant import AUTO, Variant


@dataclass(frozen=True)
class Identity:
    """What a result depends on: two results with the same identity are the same result."""

    ref: str  # "org/name" or a folder, as asked for
    revision: str | None
    commit: str  # the Hub's commit, or a hash of a local folder's files
    texts: str  # TextSet.fingerprint
    tokenizer: str  # TextTokenizer.fingerprint
    special_rule: str
    variant: Variant  # with the precision that it was scored in

    @cached_property
    def key(self) -> str:
        """sha256 hex of the canonical JSON form."""
        return hash_facts(self.facts)

    @property
    def facts(self) -> dict[str, Any]:
        """As plain values; what is newer than a store may be is left out where it says nothing."""
        one = self.variant
        return {
            "ref": self.ref,
            "revision": self.revision,
            "commit": self.commit,
            "texts": self.texts,
            "tokenizer": self.tokenizer,
            "special_rule": self.special_rule,
            "dtype": one.precision,
            "quantisation": one.quantisation,
            "layer": one.layer,
            **({"tuned": one.tuned} if one.tuned else {}),
        }

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Identity:
        """The inverse of `facts`; KeyError where one is missing."""
        names = ("ref", "revision", "commit", "texts", "tokenizer", "special_rule")
        lens = facts.get("tuned", "")
        variant = Variant(facts["dtype"], facts["quantisation"], facts["layer"], lens)
        return cls(**{name: facts[name] for name in names}, variant=variant)


@dataclass(frozen=True)
class Provenance:
    """How a result came about; none of it changes the numbers beyond rounding."""

    is_default_dtype: bool = True  # the dtype is what "auto" gave
    num_layers: int | None = None  # L, so that lens layers are 0..L
    truncated: int = 0  # texts cut to the context
    apart: int = 0  # responses tokenised apart from their prompt, see TextTokenizer.encode
    context: int | None = None  # tokens
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    seconds: float = 0.0
    created: str = field(default_factory=lambda: now())
    files: tuple[tuple[Any, ...], ...] = ()  # stat signature of a local folder's files
    model: dict[str, Any] = field(default_factory=dict)  # model_type, num_parameters, ...


@dataclass(frozen=True)
class Record:
    """One model's statistics of all texts.

    Fields:
      identity: what they depend on.
      provenance: how they came about.
      arrays: by name, see `jaxmap.store.statistics`: a value per text, [N], or per scored token
        of all texts, [M].
      offsets_N1: int64 [N + 1], the scored tokens of text n are offsets_N1[n] to
        offsets_N1[n + 1], exclusive; None where no array is per token.
    """

    identity: Identity
    provenance: Provenance
    arrays: Mapping[str, np.ndarray]
    offsets_N1: np.ndarray | None = None

    @property
    def vector(self) -> np.ndarray:
        """What maps are made of, float64 [N], nats: the log-likelihoods, or PMI."""
        return self.arrays[vector_of(self.arrays)]

    @property
    def log_likelihood(self) -> np.ndarray:
        """Of each text, float64 [N], nats."""
        return self.arrays[LOG_LIKELIHOOD]

    @property
    def num_tokens(self) -> np.ndarray:
        """Ids of each text as scored, after truncation, int32 [N]; -1: not known."""
        return self.arrays["num_tokens"]

    @property
    def num_scored(self) -> np.ndarray:
        """Of these, how many were predicted, int32 [N]; -1: not known."""
        return self.arrays["num_scored"]


def vector_of(names: Iterable[str]) -> str:
    """Which of these arrays a map is made of; KeyError where none is."""
    names = set(names)
    for name in VECTORS:
        if name in names:
            return name
    raise KeyError(f"none of {', '.join(VECTORS)} among {sorted(names)}")


@dataclass(frozen=True)
class Entry:
    """A result in a store without its arrays; `label` is set by `Store.records()`.

    Fields:
      path: its file; identity, provenance: as in `Record`.
      generation: order of arrival among the records of one checkpoint; clocks can go back.
      statistics: names of the arrays that are there.
      further: files with statistics that were added later, or that are per token.
      vector_hash: of the numbers that maps are made of: equal vectors are told without being read.
      names: what reads names, with what was given of runs; set by the store.
    """

    path: Path
    identity: Identity
    provenance: Provenance
    generation: int
    label: str = ""
    statistics: frozenset[str] = frozenset(VECTORS[:1])
    further: tuple[Path, ...] = ()
    vector_hash: str = ""
    names: Names = field(default=GRAMMAR, compare=False, repr=False)

    @property
    def name(self) -> Name:
        """What the checkpoint's name says."""
        return self.names.parse(self.identity.ref, self.identity.revision)

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of its files; the further ones first, as they are nothing without the main one."""
        return (*self.further, self.path)

    @property
    def variant(self) -> Variant:
        """The variant as people ask for it: `auto` where the precision is the default."""
        one = self.identity.variant
        return replace(one, precision=AUTO) if self.provenance.is_default_dtype else one

    @property
    def format(self) -> str:
        """How its weights are stored: "float16", "gptq-4bit", "int8", ...; "" where not known."""
        if "format" not in self.provenance.model and self.identity.variant.is_quantised:
            return self.identity.variant.quantisation
        model = self.provenance.model
        return str(model.get("format") or model.get("stored_dtype") or "")

    @property
    def file_type(self) -> str:
        """The kind of a format that has several, such as Q4_K_M of GGUF; else the format."""
        return str(self.provenance.model.get("file_type") or self.format)

    @property
    def bits(self) -> int | None:
        """Of a code of most matrices; None for floats of 16 bits or more, and where not known."""
        return self.provenance.model.get("bits")

    @property
    def num_bytes(self) -> int | None:
        """Bytes of its weights' files, or of a copy's arrays; None where not known."""
        return self.provenance.model.get("num_bytes")

    @property
    def bits_per_weight(self) -> float | None:
        """With scales and all that is not quantised; None where not known."""
        count = self.provenance.model.get("num_parameters")
        return 8 * self.num_bytes / count if self.num_bytes and count else None

    @property
    def has_vector(self) -> bool:
        """Whether it has what maps are made of; without it a result is not shown."""
        return not self.statistics.isdisjoint(VECTORS)


def hash_vector(arrays: Mapping[str, np.ndarray]) -> str:
    """Hex hash of the vector among arrays, the same for 0.0 and -0.0; "" where there is none."""
    if set(VECTORS).isdisjoint(arrays):
        return ""
    numbers = np.ascontiguousarray(arrays[vector_of(arrays)], dtype="<f8") + 0.0
    return hashlib.blake2b(numbers.tobytes(), digest_size=12).hexdigest()


def checkpoint_name(ref: str, revision: str | None) -> str:
    """`ref@revision`, or `ref`."""
    return ref if revision is None else f"{ref}@{revision}"


def file_stem(label: str, key: str) -> str:
    """A file name that is readable and unique: the label in plain letters, 16 hex of the key."""
    slug = re.sub(r"[^A-Za-z0-9._@+#=-]+", "-", label).strip("-.")
    return f"{slug[-100:].lstrip('-.') or 'model'}-{key[:16]}"


def now() -> str:
    """The time in UTC, ISO 8601, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def canonical(facts: dict[str, Any]) -> str:
    """JSON that is the same for the same facts."""
    # ASCII, because a folder's name may hold bytes that are not UTF-8.
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def hash_facts(facts: dict[str, Any]) -> str:
    """sha256 hex of the canonical JSON."""
    return hashlib.sha256(canonical(facts).encode()).hexdigest()

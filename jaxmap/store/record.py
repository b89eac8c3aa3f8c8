"""Records, the contents of a store: a result, what it depends on, and how it was made."""

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
from jaxmap.variant import AUTO, JAX, Variant

_LONGEST_SLUG = 100  # letters of a file's name; longer ones lose their beginning
_LONGEST_VARIANT = 70  # at least the longest label of a variant


@dataclass(frozen=True)
class Identity:
    """What a result depends on; two results with the same identity are the same result."""

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
        """The identity as JSON values; facts that older stores lack are left out if empty."""
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
            **({"engine": one.engine} if one.engine != JAX else {}),
        }

    @classmethod
    def of_facts(cls, facts: Mapping[str, Any]) -> Identity:
        """The inverse of `facts`; raises KeyError if one is missing."""
        names = ("ref", "revision", "commit", "texts", "tokenizer", "special_rule")
        lens, engine = facts.get("tuned", ""), facts.get("engine", JAX)
        variant = Variant(facts["dtype"], facts["quantisation"], facts["layer"], lens, engine)
        return cls(**{name: facts[name] for name in names}, variant=variant)


@dataclass(frozen=True)
class Provenance:
    """How a result was made; none of it changes the numbers beyond rounding."""

    is_default_dtype: bool = True  # whether the dtype was chosen by "auto"
    num_layers: int | None = None  # L, so that lens layers are 0..L
    truncated: int = 0  # texts cut to the context
    apart: int = 0  # responses tokenised separately from their prompt, see TextTokenizer.encode
    context: int | None = None  # tokens
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    seconds: float = 0.0
    created: str = field(default_factory=lambda: now())
    files: tuple[tuple[Any, ...], ...] = ()  # stat signature of a local folder's files
    model: dict[str, Any] = field(default_factory=dict)  # model_type, num_parameters, ...


@dataclass(frozen=True)
class Record:
    """The statistics of all texts for one variant of one checkpoint.

    Fields:
      identity: what they depend on.
      provenance: how they were made.
      arrays: the arrays by name (`jaxmap.store.statistics`), with a value per text, [N], or per
        scored token of all texts, [M].
      offsets_N1: int64 [N + 1]; the scored tokens of text n are entries offsets_N1[n] to
        offsets_N1[n + 1] - 1; None if no array is per token.
    """

    identity: Identity
    provenance: Provenance
    arrays: Mapping[str, np.ndarray]
    offsets_N1: np.ndarray | None = None

    @property
    def vector(self) -> np.ndarray:
        """The vector from which KL and maps are computed, float64 [N] in nats.

        It is the log-likelihoods, or PMI in a store of PMI.
        """
        return self.arrays[vector_of(self.arrays)]

    @property
    def log_likelihood(self) -> np.ndarray:
        """The log-likelihood of each text, float64 [N] in nats."""
        return self.arrays[LOG_LIKELIHOOD]

    @property
    def num_tokens(self) -> np.ndarray:
        """The number of ids of each text, after cutting, int32 [N]; -1: unknown."""
        return self.arrays["num_tokens"]

    @property
    def num_scored(self) -> np.ndarray:
        """The number of scored ids of each text, int32 [N]; -1: unknown."""
        return self.arrays["num_scored"]


def vector_of(names: Iterable[str]) -> str:
    """The name of the vector among these arrays; raises KeyError if there is none."""
    names = set(names)
    for name in VECTORS:
        if name in names:
            return name
    raise KeyError(f"none of {', '.join(VECTORS)} among {sorted(names)}")


@dataclass(frozen=True)
class Entry:
    """A result in a store, without its arrays; `label` is set by `Store.records()`.

    Fields:
      path: its file.
      identity, provenance: as in `Record`.
      generation: the order of arrival among the records of one checkpoint (clocks can be wrong).
      label: its name in exports, tables and figures.
      statistics: the names of its arrays.
      further: files with statistics that were added later, or that are per token.
      vector_hash: a hash of the vector, by which equal vectors are found without reading them.
      names: the parser of names, with the facts given about runs; set by the store.
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
        """The parsed name of the checkpoint."""
        return self.names.parse(self.identity.ref, self.identity.revision)

    @property
    def paths(self) -> tuple[Path, ...]:
        """All of its files, the main file last, without which the others have no meaning."""
        return (*self.further, self.path)

    @property
    def variant(self) -> Variant:
        """The variant in the form that users write: `auto` if the precision is the default."""
        one = self.identity.variant
        return replace(one, precision=AUTO) if self.provenance.is_default_dtype else one

    @property
    def format(self) -> str:
        """The storage of its weights: "float16", "gptq-4bit", "int8", ...; "" if unknown."""
        if "format" not in self.provenance.model and self.identity.variant.is_quantised:
            return self.identity.variant.quantisation
        model = self.provenance.model
        return str(model.get("format") or model.get("stored_dtype") or "")

    @property
    def file_type(self) -> str:
        """The file type of a format that has several, such as GGUF's Q4_K_M; else the format."""
        return str(self.provenance.model.get("file_type") or self.format)

    @property
    def bits(self) -> int | None:
        """The bits of a code of most matrices; None for floats of 16 bits or more or if unknown."""
        return self.provenance.model.get("bits")

    @property
    def num_bytes(self) -> int | None:
        """The bytes of its weights in files, or of a copy's arrays; None if unknown."""
        return self.provenance.model.get("num_bytes")

    @property
    def bits_per_weight(self) -> float | None:
        """Bits per weight, including scales and tensors that are not quantised; None if unknown."""
        count = self.provenance.model.get("num_parameters")
        return 8 * self.num_bytes / count if self.num_bytes and count else None

    @property
    def has_vector(self) -> bool:
        """Whether it has a vector; a result without one is not shown."""
        return not self.statistics.isdisjoint(VECTORS)


def hash_vector(arrays: Mapping[str, np.ndarray]) -> str:
    """A hash of the vector among arrays, in hexadecimal, equal for 0.0 and -0.0; "" if none."""
    if set(VECTORS).isdisjoint(arrays):
        return ""
    numbers = np.ascontiguousarray(arrays[vector_of(arrays)], dtype="<f8") + 0.0
    return hashlib.blake2b(numbers.tobytes(), digest_size=12).hexdigest()


def checkpoint_name(ref: str, revision: str | None) -> str:
    """`ref@revision`, or `ref`."""
    return ref if revision is None else f"{ref}@{revision}"


def file_stem(label: str, key: str) -> str:
    """A file name that is readable and unique: the label in ASCII and 16 digits of the key."""
    slug = _slug(label)
    return f"{slug[-_LONGEST_SLUG:].lstrip('-.') or 'model'}-{key[:16]}"


def part_of_stems(name: str) -> str:
    """A text that is in the stem of every label that is this name and a variant's label."""
    return _slug(name)[-(_LONGEST_SLUG - _LONGEST_VARIANT) :].strip("-.")


def _slug(label: str) -> str:
    return re.sub(r"[^A-Za-z0-9._@+#=-]+", "-", label).strip("-.")


def now() -> str:
    """The time in UTC, ISO 8601, microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def canonical(facts: dict[str, Any]) -> str:
    """JSON that is identical for equal facts."""
    # ASCII, because a folder's name may contain bytes that are not UTF-8.
    return json.dumps(facts, sort_keys=True, separators=(",", ":"))


def hash_facts(facts: dict[str, Any]) -> str:
    """sha256 hex of the canonical JSON."""
    return hashlib.sha256(canonical(facts).encode()).hexdigest()

"""What a store holds: a result, what it depends on, how it came about; and its file form."""

from __future__ import annotations

import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from jaxmap.errors import InputError
from jaxmap.naming import Name, parse
from jaxmap.variant import AUTO, Variant

FORMAT = 1
TENSORS = {"log_likelihood": np.float64, "num_tokens": np.int32, "num_scored": np.int32}


class CorruptError(Exception):
    """A file of the store that is not what was written."""


class Texts(Protocol):
    """What a store needs to know of a TextSet. num_bytes that are floats are a stated mean."""

    @property
    def fingerprint(self) -> str: ...
    @property
    def num_bytes(self) -> np.ndarray: ...
    @property
    def source(self) -> str: ...


@dataclass(frozen=True)
class TextFacts:
    """The texts that every result of a store was scored on.

    Where the texts themselves are not known, only the stated mean of their bytes, `measured` is
    false and text_bytes is that mean for each text, float64.
    """

    fingerprint: str
    source: str
    text_bytes: np.ndarray  # [N], int64 when measured
    measured: bool = True

    @property
    def mean_bytes(self) -> float:
        return float(self.text_bytes.mean())


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

    @property
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
    """One model's scores of all texts: log_likelihood float64 [N] in nats, counts int32 [N]."""

    identity: Identity
    provenance: Provenance
    log_likelihood: np.ndarray
    num_tokens: np.ndarray  # ids of each text as scored, after truncation; -1: not known
    num_scored: np.ndarray  # of these, how many were predicted; -1: not known


@dataclass(frozen=True)
class Entry:
    """A record in a store without its arrays; `label` is set by `Store.records()`."""

    path: Path
    identity: Identity
    provenance: Provenance
    generation: int  # order of arrival among the records of one checkpoint; clocks can go back
    label: str = ""

    @property
    def name(self) -> Name:
        """What the checkpoint's name says."""
        return parse(self.identity.ref, self.identity.revision)

    @property
    def variant(self) -> Variant:
        """The variant as people ask for it: `auto` where the precision is the default."""
        one = self.identity.variant
        return replace(one, precision=AUTO) if self.provenance.is_default_dtype else one


def encode_record(record: Record, generation: int, num_texts: int) -> bytes:
    """The file of a record: safetensors, facts as JSON in its metadata, a checksum of both.

    Raises InputError when a score is not finite, ValueError when an array is of another shape.
    """
    arrays = {
        name: np.ascontiguousarray(getattr(record, name), dtype=dtype)
        for name, dtype in TENSORS.items()
    }
    for name, array in arrays.items():
        if array.shape != (num_texts,):
            raise ValueError(f"{name} has the shape {array.shape}, the store holds {num_texts}")
    bad = int(np.count_nonzero(~np.isfinite(arrays["log_likelihood"])))
    if bad:
        identity = record.identity
        layer = "" if identity.variant.is_output else f" (layer {identity.variant.layer})"
        raise InputError(
            f"{checkpoint_name(identity.ref, identity.revision)}{layer}: the scores of {bad} of "
            f"{num_texts} texts are NaN or infinite: nothing was kept; check the weights, or try "
            "`dtype=float32`"
        )
    facts = canonical(
        {
            "format": FORMAT,
            "identity": record.identity.facts,
            "provenance": asdict(record.provenance),
            "generation": generation,
        }
    )
    metadata = {"jaxmap": facts, "crc32": _checksum(facts, arrays)}
    return safetensors.numpy.save(arrays, metadata=metadata)


def read_entry(path: Path) -> Entry:
    """Reads a record's facts and checks the whole file; raises CorruptError."""
    return _read(path)[0]


def read_record(path: Path) -> Record:
    """Reads a record; raises CorruptError."""
    entry, arrays = _read(path)
    return Record(entry.identity, entry.provenance, **arrays)


def _read(path: Path) -> tuple[Entry, dict[str, np.ndarray]]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in TENSORS}
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise CorruptError(f"not a whole safetensors file ({error})") from error
    facts = metadata.get("jaxmap", "")
    if metadata.get("crc32") != _checksum(facts, arrays):
        raise CorruptError("its checksum does not fit its contents")
    read = json.loads(facts)
    if read["format"] != FORMAT:
        raise CorruptError(f"its format is {read['format']}, this version reads {FORMAT}")
    provenance = read["provenance"]
    provenance["files"] = tuple(tuple(one) for one in provenance["files"])
    entry = Entry(
        path, Identity.of_facts(read["identity"]), Provenance(**provenance), int(read["generation"])
    )
    return entry, arrays


def _checksum(facts: str, arrays: dict[str, np.ndarray]) -> str:
    value = zlib.crc32(facts.encode())
    for name in TENSORS:
        value = zlib.crc32(arrays[name].data, value)
    return f"{value:08x}"


def encode_json(facts: dict[str, Any]) -> bytes:
    """A small file of the store that people may read."""
    return (json.dumps({"format": FORMAT, **facts}, indent=1) + "\n").encode()


def decode_json(path: Path) -> dict[str, Any]:
    """Reads such a file back; raises CorruptError."""
    try:
        facts = json.loads(path.read_bytes())
        if facts["format"] != FORMAT:
            raise CorruptError(f"its format is {facts['format']}, this version reads {FORMAT}")
        return facts
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise CorruptError(f"not a file of this store ({error})") from error


def encode_texts(texts: Texts) -> bytes:
    """The file that says which texts a store is about."""
    facts: dict[str, Any] = {
        "format": FORMAT,
        "created": now(),
        "fingerprint": texts.fingerprint,
        "source": texts.source,
    }
    num_bytes = np.asarray(texts.num_bytes)
    if np.issubdtype(num_bytes.dtype, np.integer):
        facts["text_bytes"] = num_bytes.tolist()
    else:
        facts["stated_mean_bytes"] = float(num_bytes[0])
        facts["num_texts"] = len(num_bytes)
    return (json.dumps(facts) + "\n").encode()


def read_texts(path: Path) -> TextFacts:
    """Reads it back; InputError when it is damaged or of another version."""
    try:
        facts = decode_json(path)
        measured = "text_bytes" in facts
        if measured:
            text_bytes = np.array(facts["text_bytes"], dtype=np.int64)
        else:
            text_bytes = np.full(facts["num_texts"], float(facts["stated_mean_bytes"]))
        return TextFacts(facts["fingerprint"], facts["source"], text_bytes, measured)
    except (CorruptError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: {error}: use another `store`, or the version of jaxmap that made it"
        ) from error


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

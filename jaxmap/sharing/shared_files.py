"""The files of shared results: one per statistic, named by what they depend on.

Names depend on identity and statistic alone, so that two people who push the same result push the
same file, and a union of files is a union of results. Files that arrive are checked before they are
used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.checkpoint.refs import is_hub_name
from jaxmap.errors import InputError
from jaxmap.precision import PRECISIONS
from jaxmap.sharing.redaction import MODEL_FACTS, PublicNames, public_provenance
from jaxmap.store import Store
from jaxmap.store.json_files import CorruptError
from jaxmap.store.record import (
    Entry,
    Identity,
    Record,
    checkpoint_name,
    file_stem,
    vector_of,
)
from jaxmap.store.record_files import encode, file_name, read_entry, read_record
from jaxmap.store.records import FOLDER, TOKEN_FOLDER
from jaxmap.store.statistics import COUNTS, VECTORS, is_per_token
from jaxmap.store.text_facts import TextFacts
from jaxmap.variant import QUANTISATIONS

_NAME = re.compile(
    rf"(?P<folder>{FOLDER}|{TOKEN_FOLDER})/(?P<model>[A-Za-z0-9_@+#=][A-Za-z0-9._@+#=-]{{0,99}})"
    r"-(?P<key>[0-9a-f]{16})(?:\+(?P<statistics>[a-z_+]{1,100}))?\.safetensors"
)
_PROVENANCE: dict[str, Any] = {
    "is_default_dtype": bool,
    "num_layers": int | None,
    "truncated": int,
    "apart": int,
    "context": int | None,
    "device": str,
    "seconds": int | float,
    "created": str,
}
_KNOWN = {**MODEL_FACTS, "base": list, "tokenizer": str, "released": str}
_LONGEST = 300  # characters of a fact
_MOST = 2**53


class NotSharedError(Exception):
    """Raised for a file that is not taken, with the reason."""


@dataclass(frozen=True)
class SharedName:
    """The parts of a shared file's name.

    Fields:
      folder: records or token_arrays.
      model: the label of the result in plain letters, of which the end may be all that there is.
      key: 16 digits of the identity.
      statistics: what the file has beside the vector; empty: the vector itself.
    """

    folder: str
    model: str
    key: str
    statistics: frozenset[str]


def parse_name(name: str) -> SharedName | None:
    """The parts of a name; None if no shared file is called so."""
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    statistics = frozenset(filter(None, (match["statistics"] or "").split("+")))
    return SharedName(match["folder"], match["model"], match["key"], statistics)


@dataclass(frozen=True)
class SharedFile:
    """A file that can be made from a result of a store.

    Fields:
      name: its path in the repository, and in a store.
      entry: the result in the store.
      identity: its identity under its public name.
      arrays: the arrays of which it consists.
    """

    name: str
    entry: Entry
    identity: Identity
    arrays: tuple[str, ...]

    @property
    def is_main(self) -> bool:
        """Whether it has the vector, without which nothing else of a result is shown."""
        return not set(VECTORS).isdisjoint(self.arrays)


def files_of(entry: Entry, identity: Identity) -> Iterator[SharedFile]:
    """The files of a result, the main one last, without reading any."""
    main = {vector_of(entry.statistics), *COUNTS}
    parts = [(name,) for name in sorted(entry.statistics - main)]
    for arrays in (*parts, tuple(sorted(entry.statistics & main))):
        yield SharedFile(_path_of(identity, arrays), entry, identity, arrays)


def content_of(file: SharedFile, store: Store, names: PublicNames) -> bytes:
    """The bytes of a file; raises JaxmapError if the result was damaged or removed meanwhile."""
    offsets_N1 = None
    if is_per_token(file.arrays[0]):
        array_M, offsets_N1 = store.load_tokens(file.entry, file.arrays[0])
        arrays = {file.arrays[0]: array_M}
    else:
        loaded = store.load(file.entry).arrays
        arrays = {name: loaded[name] for name in file.arrays}
    provenance = public_provenance(file.entry.provenance, names)
    record = Record(file.identity, provenance, arrays, offsets_N1)
    return encode(record, file.entry.generation, len(store.texts.text_bytes))


def arrived(path: Path, name: str, texts: TextFacts) -> tuple[Entry, bytes]:
    """The entry and the content to keep of a file that came from others.

    Raises RefusedError unless the file is whole, of these texts, called what it is, and has facts
    and numbers as results have them.
    """
    try:
        entry = read_entry(path)
        record = read_record(path)
        if entry.identity.texts != texts.fingerprint:
            raise NotSharedError("scored on other texts than those of the store")
        _check_facts(entry)
        _check_arrays(record)
        if name != _path_of(entry.identity, record.arrays):
            raise NotSharedError("its name is not that of its contents")
        model = {key: fact for key, fact in entry.provenance.model.items() if key in _KNOWN}
        kept = replace(record, provenance=replace(entry.provenance, files=(), model=model))
        return entry, encode(kept, entry.generation, len(texts.text_bytes))
    except (CorruptError, InputError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise NotSharedError(" ".join(str(error).split())) from error


def _path_of(identity: Identity, arrays: Iterable[str]) -> str:
    arrays = set(arrays)
    label = checkpoint_name(identity.ref, identity.revision) + identity.variant.label
    stem = file_stem(label, identity.key)
    whole = not arrays.isdisjoint(VECTORS)
    folder = TOKEN_FOLDER if any(map(is_per_token, arrays)) else FOLDER
    return f"{folder}/{file_name(stem, arrays, whole=whole)}"


def _check_arrays(record: Record) -> None:
    kinds = {is_per_token(name) for name in record.arrays}
    if len(kinds) != 1:
        raise NotSharedError("it has not arrays of one kind, per text or per token")
    if not set(record.arrays).isdisjoint(VECTORS) and not set(COUNTS) <= set(record.arrays):
        raise NotSharedError("it has a vector without the numbers of tokens")
    offsets_N1 = record.offsets_N1
    if (offsets_N1 is not None) != kinds.pop():
        raise NotSharedError("offsets come with arrays per token, and with no others")
    if offsets_N1 is not None and (
        offsets_N1.dtype != np.int64
        or offsets_N1.ndim != 1
        or not len(offsets_N1)
        or offsets_N1[0] != 0
        or (np.diff(offsets_N1) < 0).any()
    ):
        raise NotSharedError("its offsets are none")


def _check_facts(entry: Entry) -> None:
    """Raises RefusedError for facts that no result has, or that could do harm where they are
    shown."""
    one, made = entry.identity, entry.provenance
    if not (isinstance(one.ref, str) and is_hub_name(one.ref)):
        raise NotSharedError(f"{one.ref!r:.60} is no public name of a model")
    for name in ("commit", "texts", "tokenizer", "special_rule"):
        _check(name, getattr(one, name), str)
    if one.revision is not None:
        _check("revision", one.revision, str)
        if not re.fullmatch(r"[\w.+=@:/-]+", one.revision) or one.revision[0] == "/":
            raise NotSharedError(f"{one.revision!r:.60} is no revision")
    variant = one.variant
    _check("layer", variant.layer, int | None)
    if variant.precision not in PRECISIONS or variant.quantisation not in QUANTISATIONS:
        raise NotSharedError("its dtype or quantisation is unknown")
    if variant.tuned and not re.fullmatch(r"[0-9a-f]{64}", variant.tuned):
        raise NotSharedError("its tuned lens is no sha256")
    for name, kind in _PROVENANCE.items():
        _check(name, getattr(made, name), kind)
    _check("generation", entry.generation, int)
    for key, version in made.versions.items():
        _check(f"versions: {key}", version, str)
    for key, kind in _KNOWN.items():
        if key in made.model:
            _check(key, made.model[key], kind)
    for base in made.model.get("base", ()):
        _check("base", base, str)


def _check(name: str, value: object, kind: Any) -> None:
    if not isinstance(value, kind):
        raise NotSharedError(f"its {name} is of a wrong type")
    if isinstance(value, str) and (len(value) > _LONGEST or not value.isprintable()):
        raise NotSharedError(f"its {name} is no line of text")
    if isinstance(value, int | float) and not 0 <= value < _MOST:
        raise NotSharedError(f"its {name} is {value}")

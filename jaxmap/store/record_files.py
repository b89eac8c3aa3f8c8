"""The files of a record: safetensors, with the facts as JSON in the metadata, and a checksum.

One file has the arrays per text that were computed together. Statistics that were added later, and
arrays per token, are in files of their own with the same identity.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError, safe_open

from jaxmap.errors import InputError
from jaxmap.store.json_files import FORMAT, CorruptError, check_format
from jaxmap.store.record import (
    Entry,
    Identity,
    Provenance,
    Record,
    canonical,
    checkpoint_name,
    hash_facts,
    hash_vector,
)
from jaxmap.store.statistics import COUNTS, LOG_LIKELIHOOD, PMI, STATISTICS

OFFSETS = "offsets"  # int64 [N + 1] in files of arrays per token: the first token of each text
_TOKEN_DTYPES = ("float16", "float32", "int32", "bool")
_PROVENANCE = {field.name for field in fields(Provenance)}  # other fields come from a later version
_ORDER_1 = (LOG_LIKELIHOOD, *COUNTS)  # format 1 has these arrays, its checksum in this order


def encode(record: Record, generation: int, num_texts: int) -> bytes:
    """The content of a file for a record whose arrays are all per text, or all per token.

    Raises InputError if a value is not finite, ValueError if an array is unknown or has a wrong
    shape.
    """
    arrays = {name: _checked(name, array, record, num_texts) for name, array in _sorted(record)}
    if record.offsets_N1 is not None:
        arrays[OFFSETS] = np.ascontiguousarray(record.offsets_N1, np.int64)
    facts = canonical(
        {
            "format": FORMAT,
            "identity": record.identity.facts,
            "provenance": asdict(record.provenance),
            "generation": generation,
            "arrays": {
                name: {
                    "dtype": array.dtype.name,
                    "shape": array.shape,
                    "unit": STATISTICS[name].unit if name in STATISTICS else "",
                }
                for name, array in arrays.items()
            },
        }
    )
    metadata = {"jaxmap": facts, "crc32": _checksum(facts, arrays, sorted(arrays))}
    return safetensors.numpy.save(arrays, metadata=metadata)


def file_name(stem: str, names: Iterable[str], *, whole: bool) -> str:
    """The name of a record's file, which depends on identity and arrays only.

    Args:
      stem: identifies the record.
      names: the names of its arrays.
      whole: whether the vector is among them; the name then omits the others.
    """
    if whole:
        return f"{stem}.safetensors"
    names = sorted(set(names).difference(COUNTS))
    listed = "+".join(names)
    return (
        f"{stem}+{listed if len(listed) < 100 else hash_facts({'names': names})[:16]}.safetensors"
    )


def read_entry(path: Path) -> Entry:
    """Reads the facts of a file of arrays per text, and checks the file; raises CorruptError."""
    return _read(path)[0]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Reads and checks a file's arrays, with OFFSETS if they are per token; raises CorruptError."""
    return _read(path)[1]


def read_token_entry(path: Path) -> Entry:
    """Reads the facts of a file of arrays per token, not the arrays; raises CorruptError."""
    try:
        with safe_open(path, framework="numpy") as file:  # refuses a file that was cut
            entry, _ = _entry(path, (file.metadata() or {}).get("jaxmap", ""), file.keys())
            return entry
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"not a whole safetensors file ({error})") from error


def read_record(path: Path) -> Record:
    """Reads one file as a record; raises CorruptError."""
    entry, arrays = _read(path)
    offsets_N1 = arrays.pop(OFFSETS, None)
    return Record(entry.identity, entry.provenance, arrays, offsets_N1)


def merge(entries: Iterable[Entry]) -> list[Entry]:
    """Joins the files of each identity into one entry, in the order of their first files.

    The main file is the one with the vector; the entry has its provenance and generation.
    """
    by_identity: dict[Identity, list[Entry]] = {}
    for entry in entries:
        by_identity.setdefault(entry.identity, []).append(entry)
    return [_merged(files) for files in by_identity.values()]


def _merged(files: list[Entry]) -> Entry:
    if len(files) == 1:
        return files[0]
    # Without the main file any of the further files will do, since the result is not shown.
    main, *others = sorted(files, key=lambda entry: (not entry.has_vector, str(entry.path)))
    return replace(
        main,
        statistics=frozenset().union(*(entry.statistics for entry in files)),
        further=tuple(path for entry in others for path in entry.paths) + main.further,
    )


def _sorted(record: Record) -> list[tuple[str, np.ndarray]]:
    return sorted(record.arrays.items())


def _checked(name: str, array: np.ndarray, record: Record, num_texts: int) -> np.ndarray:
    known = STATISTICS.get(name)
    if known is None:
        raise ValueError(f"{name} is no statistic of {', '.join(STATISTICS)}")
    if known.per == "text":
        dtype, shape = known.dtype, (num_texts,)
    else:
        if record.offsets_N1 is None or record.offsets_N1.shape != (num_texts + 1,):
            raise ValueError(f"{name} is per token: offsets of {num_texts} texts must come with it")
        dtype = array.dtype.name if array.dtype.name in _TOKEN_DTYPES else known.dtype
        shape = (int(record.offsets_N1[-1]),)
    array = np.ascontiguousarray(array, dtype=dtype)
    if array.shape != shape:
        raise ValueError(f"{name} has the shape {array.shape}, the store holds {shape}")
    bad = 0 if array.dtype.kind in "ib" else int(np.count_nonzero(~np.isfinite(array)))
    if bad:
        identity = record.identity
        layer = "" if identity.variant.is_output else f" (layer {identity.variant.layer})"
        what = "scores" if name == LOG_LIKELIHOOD else f"values of {name}"
        raise InputError(
            f"{checkpoint_name(identity.ref, identity.revision)}{layer}: the {what} of {bad} of "
            f"{len(array)} {known.per}s are NaN or infinite: nothing was kept; check the weights, "
            "or try `dtype=float32`"
        )
    return array


def _read(path: Path) -> tuple[Entry, dict[str, np.ndarray]]:
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in sorted(file.keys())}
        facts = metadata.get("jaxmap", "")
        entry, read = _entry(path, facts, arrays)
        if read["format"] == 1:
            described, order = set(arrays) == set(_ORDER_1), _ORDER_1
        else:
            there = {name: (one["dtype"], one["shape"]) for name, one in read["arrays"].items()}
            described = there == {n: (a.dtype.name, list(a.shape)) for n, a in arrays.items()}
            order = tuple(sorted(arrays))
        if not described or metadata.get("crc32") != _checksum(facts, arrays, order):
            raise CorruptError("its checksum does not fit its contents")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"not a whole safetensors file ({error})") from error
    if PMI in entry.statistics and PMI not in arrays:
        arrays[PMI] = arrays.pop(LOG_LIKELIHOOD)
    return replace(entry, vector_hash=hash_vector(arrays)), arrays


def _entry(path: Path, facts: str, names: Iterable[str]) -> tuple[Entry, dict[str, Any]]:
    read = json.loads(facts)
    check_format(read["format"])
    provenance = read["provenance"]
    provenance["files"] = tuple(tuple(one) for one in provenance["files"])
    statistics = set(names) - {OFFSETS}
    # Format 1 stored PMI as log-likelihoods, with a mark.
    if provenance["model"].pop("quantity", None) == PMI and PMI not in statistics:
        statistics = statistics - {LOG_LIKELIHOOD} | {PMI}
    entry = Entry(
        path,
        Identity.of_facts(read["identity"]),
        Provenance(**{name: one for name, one in provenance.items() if name in _PROVENANCE}),
        int(read["generation"]),
        statistics=frozenset(statistics),
    )
    return entry, read


def _checksum(facts: str, arrays: Mapping[str, np.ndarray], order: Iterable[str]) -> str:
    value = zlib.crc32(facts.encode())
    for name in order:
        value = zlib.crc32(np.ascontiguousarray(arrays[name]).data, value)
    return f"{value:08x}"

"""`jaxmap import`: reads the authors' released files (`jaxmap.released.layout`) into a store."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.analysis import genealogy
from jaxmap.atomic import write_atomic
from jaxmap.corpus.texts import load_texts
from jaxmap.errors import InputError
from jaxmap.progress import progress
from jaxmap.released.coordinates import read_coordinates
from jaxmap.released.files import (
    ReleasedContents,
    Vector,
    read_contents,
    read_distances_of,
    read_json,
)
from jaxmap.released.layout import (
    COLORS,
    MEAN_BYTES,
    PARENTS,
    TEXT_BYTES,
    TEXTS,
    TYPES,
    VECTORS,
    ReleasedFolder,
    find_files,
)
from jaxmap.store import Store
from jaxmap.store import released_data as kept
from jaxmap.store.record import Identity, Provenance, Record, hash_facts
from jaxmap.store.released_data import Release, write_release
from jaxmap.store.requests import Failure, Item
from jaxmap.store.text_facts import Texts
from jaxmap.store.weight_distances import write_distances

MOST_LISTED = 20


@dataclass
class Imported:
    """The outcome of an import.

    Fields:
      added: the number of results that were added to the store.
      found: the number of results that it had already.
      absent: the labels of results that are None in the files.
      not_finite: lines about vectors with a NaN or an infinity, which were left out.
      notes: further lines that a reader should know.
    """

    added: int = 0
    found: int = 0
    absent: list[str] = field(default_factory=list)
    not_finite: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a reader should know about the files, one line each."""
        lines = [f"left out, not finite: {label}" for label in self.not_finite]
        lines += [f"not scored in the release: {label}" for label in self.absent[:MOST_LISTED]]
        if len(self.absent) > MOST_LISTED:
            lines.append(f"not scored in the release: {len(self.absent) - MOST_LISTED} more")
        return (*lines, *self.notes)

    def text(self) -> str:
        """A summary: what was added, and the remarks."""
        lines = (f"{self.added} results added, {self.found} already there", *self.remarks)
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True)
class _Measured:
    """Texts of which only the bytes, or only the number and the mean length, are known."""

    num_bytes: np.ndarray
    fingerprint: str
    source: str


def import_released(
    folder: str | os.PathLike[str], store_path: str | os.PathLike[str]
) -> tuple[Store, Imported]:
    """Reads a released folder into a store, which is made if need be.

    The folder is the authors' repository as cloned, its data/, or all files in one place; nothing
    is written there. Entries that are None, and vectors with a NaN or an infinity, are not kept;
    each leaves a failure with the reason in the store. Without a texts file the mean length is
    taken as published, and the report says so. Where unclipped scores of the models are there too,
    they are kept, and the floor of the clipped ones with them.

    Raises InputError for a folder without any of the files, for a file that does not fit the
    layout, and for a pickle that holds more than arrays.
    """
    files = find_files(Path(folder))
    report = Imported()
    # All that may be damaged is read before a store is made.
    contents = read_contents(files)
    _check_lengths(files, contents)
    distances = list(read_distances_of(files, contents))
    release = _facts(files, contents)
    types, parents = _genealogy(files)
    texts = _texts(files, _num_texts(contents), report)
    store = Store.create(store_path, texts)
    genealogy.save_known(store.path, parents, types)
    for one in distances:
        write_distances(store.path, one)
    write_release(store.path, release)
    if source := files.path("texts.json"):
        write_atomic(store.path / kept.FOLDER / "texts.json", source.read_bytes())
    report.notes += contents.notes
    report.notes += [f"passed over, no file of the release: {path}" for path in files.foreign]
    _add(store, contents.vectors, types or {}, report)
    return store, report


def _add(store: Store, vectors: list[Vector], types: Mapping[str, str], report: Imported) -> None:
    """Adds the vectors that can be used to the store, and a failure for each of the others."""
    there: list[Vector] = []
    reasons: dict[Item, list[str]] = defaultdict(list)
    for one in vectors:
        asked = replace(one.variant, layer=None)  # with the lens of a layer: all layers
        item = Item(one.ref, one.revision, asked)
        layer = f"layer {one.variant.layer}: " if one.variant.is_layer else ""
        if one.scores is None:
            report.absent.append(one.label)
            reasons[item].append(f"{layer}not scored in the release (None in {one.file})")
        elif bad := int(np.count_nonzero(~np.isfinite(one.scores))):
            report.not_finite.append(f"{one.label}: {bad} of {len(one.scores)} scores ({one.file})")
            reasons[item].append(f"{layer}{bad} scores in {one.file} are NaN or infinite")
        else:
            there.append(one)
    with progress(len(there), "import", "result") as bar:
        report.added = store.add_many(_records(there, store, types, bar.update))
    report.found = len(there) - report.added
    for item, lines in reasons.items():
        if not store.is_done(item):
            store.add_failure(Failure(item, "; ".join(lines), "input"))


def _records(
    vectors: list[Vector], store: Store, types: Mapping[str, str], update: Any
) -> Iterator[Record]:
    """Yields a record per vector, in order.

    All records of a checkpoint have the same commit, the hash of all its vectors.
    """
    digests: dict[tuple[str, str | None], Any] = defaultdict(hashlib.sha256)
    depth: dict[tuple[str, str | None], int] = {}
    for one in vectors:
        key = (one.ref, one.revision)
        assert one.scores is not None
        scores = np.ascontiguousarray(one.scores, np.float64)
        variant = one.variant
        digests[key].update(f"{variant.quantisation}\0{variant.layer}\0".encode())
        digests[key].update(scores.tobytes())
        if variant.layer is not None:
            depth[key] = max(depth.get(key, 0), variant.layer)
    unknown_N = np.full(len(store.texts.text_bytes), -1, np.int32)
    for one in vectors:
        key = (one.ref, one.revision)
        identity = Identity(
            one.ref,
            one.revision,
            f"released-{digests[key].hexdigest()[:32]}",
            store.texts.fingerprint,
            tokenizer="released",
            special_rule="the tokenizer's own",
            variant=replace(one.variant, precision="float16"),
        )
        model = {"released": one.file}
        if one.ref in types:
            model["model_type"] = types[one.ref]
        provenance = Provenance(num_layers=depth.get(key), model=model)
        arrays: dict[str, np.ndarray] = {
            "log_likelihood": np.asarray(one.scores, np.float64),
            "num_tokens": unknown_N,
            "num_scored": unknown_N,
        }
        yield Record(identity, provenance, arrays)
        update()


# Facts --------------------------------------------------------------------------------------------


def _facts(files: ReleasedFolder, contents: ReleasedContents) -> Release:
    def content(name: str) -> Any:
        path = files.path(name)
        if path is None:
            return None
        found = read_json(path)
        if not isinstance(found, dict):
            raise InputError(f"{path}: has to be an object of names")
        return found

    return Release(
        nested=files.nested,
        files=contents.files,
        dtypes=contents.dtypes,
        models=contents.models,
        floor=contents.floor,
        parents=content(PARENTS),
        types=content(TYPES),
        colors=_colors(files, content(COLORS)),
        coordinates=read_coordinates(files),
    )


def _colors(files: ReleasedFolder, colors: dict[str, Any] | None) -> dict[str, Any] | None:
    """Checks the colours and returns them; raises InputError for a value that is no colour."""
    for kind, color in (colors or {}).items():
        is_list = isinstance(color, list) and len(color) in (3, 4)
        if not is_list or not all(isinstance(x, (int, float)) and 0 <= x <= 1 for x in color):
            raise InputError(
                f"{files.path(COLORS)}: {kind!r}: a colour has to be red, green, blue and perhaps "
                "opacity, each in 0 to 1"
            )
    return colors


def _genealogy(files: ReleasedFolder) -> tuple[dict[str, str] | None, genealogy.Parents | None]:
    types, parents = files.path(TYPES), files.path(PARENTS)
    return (
        genealogy.read_types(types) if types else None,
        genealogy.read_parents(parents) if parents else None,
    )


def _check_lengths(files: ReleasedFolder, contents: ReleasedContents) -> None:
    sizes = {len(one.scores): one for one in contents.vectors if one.scores is not None}
    if len(sizes) > 1:
        found = ", ".join(f"{one.file}: {one.label} has {n}" for n, one in sorted(sizes.items()))
        raise InputError(f"{files.root}: vectors of different lengths: {found}")
    if not sizes:
        raise InputError(f"{files.root}: holds none of {', '.join(VECTORS)} with a vector in it")


def _num_texts(contents: ReleasedContents) -> int:
    return next(len(one.scores) for one in contents.vectors if one.scores is not None)


def _texts(files: ReleasedFolder, count: int, report: Imported) -> Texts:
    for name in TEXTS:
        if path := files.path(name):
            texts = load_texts(path)
            if len(texts) != count:
                raise InputError(
                    f"{path}: {len(texts)} texts for vectors of {count}: these are not the texts "
                    "that were scored"
                )
            return texts
    if path := files.path(TEXT_BYTES):
        return _bytes_alone(path, count)
    report.notes.append(
        f"no {' or '.join(TEXTS)}: the mean length is taken as published, {MEAN_BYTES} bytes, also "
        "after texts are dropped"
    )
    fingerprint = hash_facts({"unknown texts of a release": count})
    return _Measured(np.full(count, MEAN_BYTES), fingerprint, f"{files.root} (texts not known)")


def _bytes_alone(path: Path, count: int) -> Texts:
    """Reads the file that `jaxmap export` writes where it has only the bytes of texts."""
    facts = read_json(path)
    try:
        num_bytes = np.asarray(facts["text_bytes"])
        fingerprint = str(facts["fingerprint"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: has to hold text_bytes and fingerprint") from error
    if num_bytes.shape != (count,) or num_bytes.dtype.kind not in "if" or (num_bytes < 0).any():
        raise InputError(f"{path}: text_bytes has to be {count} numbers, one for each text")
    return _Measured(num_bytes, fingerprint, str(facts.get("source", path)))

"""The authors' released data folder, to a store and back; see `jaxmap.released.files`."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
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
from jaxmap.released.files import (
    CLIPPED,
    DISTANCES,
    LAYERS,
    MEAN_BYTES,
    NAMES,
    PARENTS,
    PRETRAINING,
    PYTHIA,
    PYTHIA_STEPS,
    QUANTISED,
    RAW,
    TEXTS,
    TYPES,
    VECTORS,
    Vector,
    read_distances_of,
    read_vectors,
)
from jaxmap.stats.clean import clean_map
from jaxmap.store import Store
from jaxmap.store.labels import step_of
from jaxmap.store.record import Entry, Identity, Provenance, Record, Texts, hash_facts
from jaxmap.store.requests import Failure, Item
from jaxmap.store.weight_distances import read_distances, write_distances


@dataclass
class Imported:
    """What an import did: results added and found, and what the files lack, by name."""

    added: int = 0
    found: int = 0
    absent: list[str] = field(default_factory=list)  # None in the files
    not_finite: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """For people: a line each for what a reader has to know."""
        lines = [f"{self.added} results added, {self.found} already there"]
        lines += [f"left out, not finite: {label}" for label in self.not_finite]
        lines += [f"not scored in the release: {label}" for label in self.absent[:20]]
        if len(self.absent) > 20:
            lines.append(f"not scored in the release: {len(self.absent) - 20} more")
        return "\n".join([*lines, *self.notes]) + "\n"


@dataclass(frozen=True)
class _Unknown:
    """Texts of which only the number and the stated mean length are known."""

    count: int
    source: str

    @property
    def fingerprint(self) -> str:
        return hash_facts({"unknown texts of a release": self.count})

    @property
    def num_bytes(self) -> np.ndarray:
        return np.full(self.count, MEAN_BYTES)


def import_released(
    folder: str | os.PathLike[str], store_path: str | os.PathLike[str]
) -> tuple[Store, Imported]:
    """Reads a released folder into a store, which is made if need be.

    Entries that are None, and vectors with a NaN or an infinity, are not kept; each leaves a
    failure with the reason in the store. Without a texts file the mean length is taken as
    published, and the store says so. Where both raw and clipped scores of a model are there, the
    raw ones are kept. InputError for a folder without any of the files, for one that does not fit
    the layout, and for a pickle that holds more than arrays.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder: check `released`")
    report = Imported()
    types = genealogy.read_types(folder / TYPES) if (folder / TYPES).exists() else None
    parents = genealogy.read_parents(folder / PARENTS) if (folder / PARENTS).exists() else None
    vectors = list(read_vectors(folder, report.notes))
    sizes = {len(one.scores): one for one in vectors if one.scores is not None}
    if len(sizes) > 1:
        found = ", ".join(f"{one.file}: {one.label} has {n}" for n, one in sorted(sizes.items()))
        raise InputError(f"{folder}: vectors of different lengths: {found}")
    if not sizes:
        raise InputError(
            f"{folder}: holds none of {', '.join(VECTORS)} with a vector in it: check `released`"
        )
    store = Store.create(store_path, _texts(folder, next(iter(sizes)), report))
    genealogy.save_known(store.path, parents, types)
    for distances in read_distances_of(folder, vectors):
        write_distances(store.path, distances)

    kept: list[Vector] = []
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
            kept.append(one)
    with progress(len(kept), "import", "result") as bar:
        report.added = store.add_many(_records(kept, store, types or {}, bar.update))
    report.found = len(kept) - report.added
    for item, lines in reasons.items():
        if not store.is_done(item):
            store.add_failure(Failure(item, "; ".join(lines), "input"))
    return store, report


def _records(
    vectors: list[Vector], store: Store, types: Mapping[str, str], update: Any
) -> Iterator[Record]:
    """Records in order; all of one checkpoint share a commit, the hash of all its vectors."""
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
        yield Record(identity, provenance, np.asarray(one.scores, np.float64), unknown_N, unknown_N)
        update()


def _texts(folder: Path, count: int, report: Imported) -> Texts:
    for name in TEXTS:
        if (folder / name).exists():
            texts = load_texts(folder / name)
            if len(texts) != count:
                raise InputError(
                    f"{folder / name}: {len(texts)} texts for vectors of {count}: these are not "
                    "the texts that were scored"
                )
            return texts
    report.notes.append(
        f"no {' or '.join(TEXTS)}: the mean length is taken as published, {MEAN_BYTES} bytes, also "
        "after texts are dropped"
    )
    return _Unknown(count, f"{folder} (texts not known)")


def write_released(store: Store, folder: str | os.PathLike[str]) -> list[Path]:
    """Writes what a store holds as the released files, float32; returns their paths.

    Items that failed become None. Single models are written raw (unless they came clipped) and
    clipped. Not written: results in another dtype than the default, nf4, and distances between
    other checkpoints than those that are written.
    """
    folder = Path(folder)
    entries = [entry for entry in store.records() if entry.provenance.is_default_dtype]
    files: dict[str, Any] = defaultdict(dict)
    pretraining: dict[str, dict[int, np.ndarray | None]] = defaultdict(dict)
    layers: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
    singles: list[Entry] = []
    released = {quantisation: file for file, quantisation in QUANTISED.items()}

    def vector(entry: Entry) -> np.ndarray:
        return store.load(entry).log_likelihood.astype(np.float32)

    for entry in entries:
        one = entry.identity
        step = step_of("", one.revision) if one.revision else None
        variant = entry.variant
        if variant.layer is not None:
            if variant.is_own_layer and one.revision is None:
                layers[one.ref][variant.layer] = vector(entry)
        elif variant.quantisation in released and one.revision is None:
            files[released[variant.quantisation]][one.ref] = vector(entry)
        elif variant.is_plain and step is not None:
            pretraining[_key(one.ref)][step] = vector(entry)
        elif variant.is_plain and one.revision is None:
            singles.append(entry)
    for failure in store.failures():
        item = failure.item
        step = step_of("", item.revision) if item.revision else None
        if item.variant.quantisation in released and item.revision is None:
            files[released[item.variant.quantisation]].setdefault(item.ref, None)
        elif not item.variant.is_quantised and step is not None and not item.variant.lens:
            pretraining[_key(item.ref)].setdefault(step, None)
    if pretraining:
        files[PRETRAINING] = {
            key: dict(sorted(steps.items())) for key, steps in pretraining.items()
        }
    if layers:
        files[LAYERS] = {
            name: {layer: found.get(layer) for layer in range(max(found) + 1)}
            for name, found in layers.items()
        }
    if singles:
        ll_KN = np.stack([vector(entry) for entry in singles])
        names = [entry.identity.ref for entry in singles]
        raw = {
            name: row
            for name, row, entry in zip(names, ll_KN, singles, strict=True)
            if entry.provenance.model.get("released") != CLIPPED
        }
        if raw:
            files[RAW] = raw
        files[CLIPPED] = clean_map(ll_KN, names).ll_KN.astype(np.float32)
        files[NAMES] = names
    for ref, distances in read_distances(store.path).items():
        steps = sorted(pretraining[_key(ref)]) or PYTHIA_STEPS
        if np.array_equal(distances.steps, steps):
            files[DISTANCES][_key(ref)] = np.nan_to_num(distances.distance)
    for name, kept in ((TYPES, "types.json"), (PARENTS, "parents.json")):
        path = store.path / genealogy.FOLDER / kept
        if path.exists():
            files[name] = json.loads(path.read_text(encoding="utf-8"))
    paths = []
    for name, content in files.items():
        path = folder / name
        data = pickle.dumps(content, 4) if name.endswith(".pkl") else json.dumps(content).encode()
        write_atomic(path, data)
        paths.append(path)
    return paths


def _key(ref: str) -> str:
    return ref.removeprefix(PYTHIA)

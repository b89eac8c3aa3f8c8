"""Writes a store in the layout of the authors' released files, see `jaxmap.released.layout`."""

from __future__ import annotations

import json
import os
import pickle
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.analysis import genealogy
from jaxmap.analysis.published import SUITE, full_name
from jaxmap.analysis.pythia import CHECKPOINTS
from jaxmap.atomic import write_atomic
from jaxmap.released.coordinates import PAIR
from jaxmap.released.layout import (
    CLIPPED,
    COLORS,
    DISTANCES,
    FOLDERS,
    NAMES,
    PARENTS,
    QUANTISED,
    RAW,
    TEXT_BYTES,
    TSNE,
    TYPES,
)
from jaxmap.stats.clean import clean_map
from jaxmap.store import Store
from jaxmap.store import released_data as kept
from jaxmap.store.labels import of_one_engine
from jaxmap.store.record import Entry
from jaxmap.store.released_data import LAYERS, PRETRAINING, Coordinates, Release, read_release
from jaxmap.store.weight_distances import read_distances

VARIANTS = {quantisation: file for file, quantisation in QUANTISED.items()}


def write_released(store: Store, folder: str | os.PathLike[str]) -> list[Path]:
    """Writes what a store holds as the released files; returns their paths.

    Of a store that was imported from a release the same files come out, with the same keys in the
    same order, equal bit for bit; vectors that were not finite become None. What was added since,
    and all of another store, is float32 where that holds every digit, else float64. Items that
    failed become None. Single models are written unclipped (unless they came clipped) and clipped.
    The texts are written where the store has them, else the bytes of each in text_bytes.json,
    which `jaxmap import` reads.

    Not written: results in another dtype than the default, nf4, tuned lenses, and distances
    between other checkpoints than those that are written.
    """
    release = read_release(store.path) or Release(nested=False)
    files = _Files(store, release).all()
    folder = Path(folder)
    paths = []
    for name, content in files.items():
        path = folder / (FOLDERS[name] if release.nested else "") / name
        write_atomic(path, _encoded(name, content))
        paths.append(path)
    return paths


def _encoded(name: str, content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    return pickle.dumps(content, 4) if name.endswith(".pkl") else json.dumps(content).encode()


class _Files:
    """Gathers the contents of the files to write, by file name."""

    def __init__(self, store: Store, release: Release):
        self.store, self.release = store, release
        self.entries = [
            entry for entry in of_one_engine(store.records()) if entry.provenance.is_default_dtype
        ]

    def all(self) -> dict[str, Any]:
        files: dict[str, Any] = {
            PRETRAINING: self._pretraining() or None,
            **self._copies(),
            LAYERS: self._layers() or None,
            **self._models(),
        }
        files[DISTANCES] = self._distances(files[PRETRAINING] or {}) or None
        files |= self._genealogy()
        files |= {TSNE[name]: _tsne(name, one) for name, one in self.release.coordinates.items()}
        files |= self._texts()
        return {name: content for name, content in files.items() if content is not None}

    def _vector(self, entry: Entry, file: str) -> np.ndarray:
        return _exact(self.store.load(entry).vector, self.release.dtypes.get(file))

    def _pretraining(self) -> dict[str, dict[Any, np.ndarray | None]]:
        files: dict[str, dict[Any, np.ndarray | None]] = {
            size: dict.fromkeys(steps)
            for size, steps in self.release.files.get(PRETRAINING, {}).items()
        }
        keys = {size: {_step(key): key for key in steps} for size, steps in files.items()}
        added: dict[str, dict[int, np.ndarray | None]] = defaultdict(dict)
        for entry in self.entries:
            step = entry.name.step if entry.identity.revision else None
            if step is None or not entry.variant.is_plain:
                continue
            size = _size(entry.name.run_name, files)
            vector = self._vector(entry, PRETRAINING)
            if step in keys.get(size, {}):
                files[size][keys[size][step]] = vector
            else:
                added[size][step] = vector
        for item in (failure.item for failure in self.store.failures()):
            step = item.name.step if item.revision else None
            if step is None or item.variant.is_quantised or item.variant.lens:
                continue
            size = _size(item.name.run_name, files)
            if step not in keys.get(size, {}):
                added[size].setdefault(step, None)
        for size, steps in added.items():
            files.setdefault(size, {}).update(sorted(steps.items()))
        return files

    def _copies(self) -> dict[str, dict[str, np.ndarray | None] | None]:
        files: dict[str, dict[str, np.ndarray | None]] = {
            file: dict.fromkeys(self.release.files.get(file, ())) for file in QUANTISED
        }
        for entry in self.entries:
            one, variant = entry.identity, entry.variant
            if variant.quantisation in VARIANTS and one.revision is None and variant.is_output:
                file = VARIANTS[variant.quantisation]
                files[file][one.ref] = self._vector(entry, file)
        for item in (failure.item for failure in self.store.failures()):
            if item.variant.quantisation in VARIANTS and item.revision is None:
                files[VARIANTS[item.variant.quantisation]].setdefault(item.ref, None)
        return {file: copies or None for file, copies in files.items()}

    def _layers(self) -> dict[str, dict[Any, np.ndarray | None] | None]:
        files: dict[str, dict[Any, np.ndarray | None] | None] = {
            name: None if layers is None else dict.fromkeys(layers)
            for name, layers in self.release.files.get(LAYERS, {}).items()
        }
        found: dict[str, dict[int, np.ndarray]] = defaultdict(dict)
        for entry in self.entries:
            one, layer = entry.identity, entry.variant.layer
            if layer is not None and entry.variant.is_own_layer and one.revision is None:
                found[one.ref][layer] = self._vector(entry, LAYERS)
        for name, layers in found.items():
            known = files.get(name)
            if known is None:
                files[name] = {layer: layers.get(layer) for layer in range(max(layers) + 1)}
                continue
            keys = {_step(key): key for key in known}
            known.update({keys.get(layer, layer): vector for layer, vector in layers.items()})
        return files

    def _models(self) -> dict[str, Any]:
        """The rows of the model map: clipped, and unclipped where the store has them so."""
        singles = {
            entry.identity.ref: entry
            for entry in self.entries
            if entry.variant.is_plain and entry.identity.revision is None
        }
        raw = {
            name: entry
            for name, entry in singles.items()
            if entry.provenance.model.get("released") != CLIPPED
        }
        files: dict[str, Any] = {}
        known = self.release.files.get(RAW, ())
        order = [*(name for name in known if name in raw), *(n for n in raw if n not in known)]
        if order:
            files[RAW] = {name: self._vector(raw[name], RAW) for name in order}
        models = [*self.release.models, *(n for n in singles if n not in self.release.models)]
        there = [place for place, name in enumerate(models) if name in singles]
        if there:
            ll_KN = self.store.log_likelihoods(singles[models[place]] for place in there)
            floor = self.release.floor
            if floor is not None:
                ll_KN = np.maximum(ll_KN, floor)
            elif raw:
                ll_KN = clean_map(ll_KN, models).ll_KN
            # A row that was not finite keeps its place: pairs are drawn by row number.
            rows_KN = np.full((len(models), ll_KN.shape[1]), np.nan)
            rows_KN[there] = ll_KN
            files[CLIPPED] = _exact(rows_KN, self.release.dtypes.get(CLIPPED))
            files[NAMES] = models
        return files

    def _distances(self, pretraining: dict[str, dict[Any, Any]]) -> dict[str, np.ndarray]:
        """Weight distances of whole runs, zero where not computed; the release's runs first."""
        found = read_distances(self.store.path)
        sizes = {full_name(size): size for size in self.release.files.get(DISTANCES, ())}
        sizes |= {ref: _size(ref, pretraining) for ref in found if ref not in sizes}
        dtype = self.release.dtypes.get(DISTANCES, "float64")
        files = {}
        for ref, size in sizes.items():
            saved = sorted(map(_step, pretraining.get(size, ())))
            if ref in found and found[ref].steps.tolist() in (saved, list(CHECKPOINTS)):
                files[size] = np.nan_to_num(found[ref].distance).astype(dtype)
        return files

    def _genealogy(self) -> dict[str, Any]:
        files: dict[str, Any] = {COLORS: self.release.colors}
        folder = self.store.path / genealogy.FOLDER
        for name, own, file in (
            (TYPES, self.release.types, "types.json"),
            (PARENTS, self.release.parents, "parents.json"),
        ):
            if own is not None:
                files[name] = own
            elif (folder / file).exists():
                files[name] = json.loads((folder / file).read_text(encoding="utf-8"))
        return files

    def _texts(self) -> dict[str, Any]:
        path = self.store.path / kept.FOLDER / "texts.json"
        if path.exists():
            return {"texts.json": path.read_bytes()}
        texts = self.store.texts
        facts = {
            "fingerprint": texts.fingerprint,
            "source": texts.source,
            "text_bytes": texts.text_bytes.tolist(),
        }
        return {TEXT_BYTES: facts}


def _exact(scores: np.ndarray, dtype: str | None) -> np.ndarray:
    """Casts to the first dtype that is exact: the release's, float32, float64."""
    for one in filter(None, (dtype, "float32")):
        found = scores.astype(one)
        if np.array_equal(found.astype(np.float64), scores, equal_nan=True):
            return found
    return scores


def _tsne(name: str, one: Coordinates) -> Any:
    """The coordinates in the layout of the file for the map `name`."""
    ends = np.cumsum(one.lengths)[:-1]
    parts = dict(zip(one.names, np.split(one.xy_M2, ends) if one.names else (), strict=True))
    if name == "trajectories":
        lengths = dict(zip(one.names, one.lengths, strict=True))
        names = list(one.names)
        metadata = {"model_names": names, "model_lengths": lengths, "init": one.init}
        return {"embedding": one.xy_M2, "metadata": metadata}
    if name == "8-bit":
        return {model: dict(zip(PAIR, xy, strict=True)) for model, xy in parts.items()}
    return {model: xy[0] if name == "families" else xy for model, xy in parts.items()}


def _size(ref: str, known: Iterable[str]) -> str:
    """The key of a run: the release's, or else the reference without EleutherAI/pythia-."""
    return ref if ref in known else ref.removeprefix(SUITE)


def _step(key: Any) -> int:
    return int(str(key).removeprefix("step"))

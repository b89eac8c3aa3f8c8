"""Reads the authors' released scores and weight distances, see `jaxmap.released.layout`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.analysis.published import full_name
from jaxmap.analysis.pythia import CHECKPOINTS
from jaxmap.errors import InputError
from jaxmap.released.layout import (
    CLIPPED,
    DISTANCES,
    NAMES,
    QUANTISED,
    RAW,
    ReleasedFolder,
)
from jaxmap.released.pickles import as_dict, load_arrays
from jaxmap.store.record import checkpoint_name
from jaxmap.store.released_data import LAYERS, PRETRAINING
from jaxmap.store.weight_distances import WeightDistances
from jaxmap.variant import LOGIT, PLAIN, Variant


@dataclass(frozen=True)
class Vector:
    """One entry of a released file.

    Fields:
      file: the name of the file.
      ref, revision, variant: what was scored. A variant with a lens and no layer stands for all
        layers of a model that failed to load.
      scores: the log-likelihoods, [N]; None if the release has none.
    """

    file: str
    ref: str
    revision: str | None = None
    variant: Variant = PLAIN
    scores: np.ndarray | None = None

    @property
    def label(self) -> str:
        """The label of the result in a store."""
        return checkpoint_name(self.ref, self.revision) + self.variant.label


@dataclass
class ReleasedContents:
    """The vectors of a release, and what is needed to write its files again.

    Fields:
      vectors: all entries, in the order of the files.
      files, dtypes, models, floor: see `jaxmap.store.released_data.Release`.
      notes: lines that a reader should know.
    """

    vectors: list[Vector] = field(default_factory=list)
    files: dict[str, Any] = field(default_factory=dict)
    dtypes: dict[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    floor: float | None = None
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        path: Path,
        name: object,
        scores: object,
        revision: str | None = None,
        variant: Variant = PLAIN,
    ) -> None:
        """Adds an entry of a file; raises InputError if its scores are not a vector of numbers."""
        one = Vector(path.name, str(name), revision, variant)
        if scores is not None:
            if (
                not isinstance(scores, np.ndarray)
                or scores.ndim != 1
                or scores.dtype.kind not in "fiu"
            ):
                raise InputError(
                    f"{path}: {one.label}: has to be an array of one number a text, or None"
                )
            one = replace(one, scores=scores)
            known = self.dtypes.setdefault(path.name, scores.dtype.name)
            if known != scores.dtype.name:
                self.dtypes[path.name] = np.promote_types(known, scores.dtype).name
        self.vectors.append(one)


def read_contents(folder: ReleasedFolder) -> ReleasedContents:
    """Reads all vectors; raises InputError, naming file and key, if a file has another layout."""
    contents = ReleasedContents()
    if path := folder.path(PRETRAINING):
        kept: dict[str, list[Any]] = {}
        for size, steps in as_dict(path, load_arrays(path)).items():
            kept[str(size)] = list(map(_plain, as_dict(path, steps, size)))
            for step, scores in steps.items():
                revision = f"step{_number(step, path, size)}"
                contents.add(path, full_name(str(size)), scores, revision)
        contents.files[PRETRAINING] = kept
    for file, quantisation in QUANTISED.items():
        if path := folder.path(file):
            copies = as_dict(path, load_arrays(path))
            contents.files[file] = [str(name) for name in copies]
            for name, scores in copies.items():
                contents.add(path, name, scores, variant=Variant(quantisation=quantisation))
    if path := folder.path(LAYERS):
        kept_layers: dict[str, list[Any] | None] = {}
        for name, layers in as_dict(path, load_arrays(path)).items():
            if layers is None:
                kept_layers[str(name)] = None
                contents.add(path, name, None, variant=Variant(lens=LOGIT))
                continue
            kept_layers[str(name)] = list(map(_plain, as_dict(path, layers, name)))
            for layer, scores in layers.items():
                number = _number(layer, path, name)
                contents.add(path, name, scores, variant=Variant(layer=number))
        contents.files[LAYERS] = kept_layers
    _read_models(folder, contents)
    return contents


def _read_models(folder: ReleasedFolder, contents: ReleasedContents) -> None:
    """Reads the rows of the model map, unclipped if the folder has both and they agree."""
    raw_path, path = folder.path(RAW), folder.path(CLIPPED)
    raw: dict[str, Any] = {}
    if raw_path:
        raw = {str(name): v for name, v in as_dict(raw_path, load_arrays(raw_path)).items()}
    rows: dict[str, np.ndarray] = {}
    if path:
        rows = _clipped_rows(folder, path)
        contents.models = tuple(rows)
        contents.dtypes[CLIPPED] = next(iter(rows.values())).dtype.name if rows else "float32"
    if raw_path and rows:
        floor = min(row.min() for row in rows.values())
        differing = [name for name, row in rows.items() if not _is_clipped(raw, name, row, floor)]
        if differing:
            contents.notes.append(
                f"{RAW}: passed over, it is not what {CLIPPED} was clipped from (for example "
                f"{differing[0]})"
            )
            raw, raw_path = {}, None
        else:
            contents.floor = float(floor)
            contents.notes.append(f"{CLIPPED}: {len(rows)} models are kept as {RAW} has them")
    if raw_path:
        contents.files[RAW] = list(raw)
        for name, scores in raw.items():
            contents.add(raw_path, name, scores)
    if path:
        contents.files[CLIPPED] = list(rows)
        for name, scores in rows.items():
            if name not in raw:
                contents.add(path, name, scores)


def _is_clipped(raw: Mapping[str, Any], name: str, row_N: np.ndarray, floor: Any) -> bool:
    scores = raw.get(name)
    if not isinstance(scores, np.ndarray) or scores.shape != row_N.shape:
        return False
    return np.array_equal(np.maximum(scores.astype(row_N.dtype), floor), row_N)


def _clipped_rows(folder: ReleasedFolder, path: Path) -> dict[str, np.ndarray]:
    scores_KN = load_arrays(path)
    names_path = folder.path(NAMES)
    if names_path is None:
        raise InputError(f"{path}: needs {NAMES}, which names its rows: add it")
    names = read_json(names_path)
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{names_path}: has to be a list of model names")
    if not isinstance(scores_KN, np.ndarray) or scores_KN.ndim != 2:
        raise InputError(f"{path}: has to be an array of models by texts")
    if len(names) != len(scores_KN) or len(set(names)) != len(names):
        raise InputError(
            f"{path}: {len(scores_KN)} rows for {len(set(names))} different names in {NAMES}"
        )
    return dict(zip(names, scores_KN, strict=True))


def read_distances_of(
    folder: ReleasedFolder, contents: ReleasedContents
) -> Iterator[WeightDistances]:
    """Yields, for each run, the squared distances between the weights of its checkpoints."""
    path = folder.path(DISTANCES)
    if path is None:
        return
    saved = contents.files.get(PRETRAINING, {})
    matrices = as_dict(path, load_arrays(path))
    contents.files[DISTANCES] = [str(size) for size in matrices]
    for size, distance in matrices.items():
        if (
            not isinstance(distance, np.ndarray)
            or distance.ndim != 2
            or distance.dtype.kind not in "fiu"
        ):
            raise InputError(f"{path}: {size}: has to be an array of checkpoints by checkpoints")
        contents.dtypes[DISTANCES] = distance.dtype.name
        steps = sorted(_number(step, path, size) for step in saved.get(str(size), ()))
        if not steps or distance.shape == (len(CHECKPOINTS),) * 2:
            steps = list(CHECKPOINTS)
        if distance.shape != (len(steps), len(steps)):
            raise InputError(
                f"{path}: {size}: has the shape {distance.shape}, the run has {len(steps)} "
                "checkpoints"
            )
        distance_II = np.where(distance == 0, np.nan, distance.astype(np.float64))
        distance_II[np.tril_indices(len(distance_II))] = np.nan
        yield WeightDistances(full_name(str(size)), np.array(steps), distance_II)


def _plain(key: Any) -> int | str:
    """A step or a layer as an integer or a string, which JSON can hold."""
    return int(key) if isinstance(key, (int, np.integer)) else str(key)


def _number(key: object, path: Path, where: object) -> int:
    text = str(key).removeprefix("step")
    if not text.isdigit():
        raise InputError(f"{path}: {where}: {key!r} is neither a step nor a layer")
    return int(text)


def read_json(path: Path) -> Any:
    """Reads a .json file; raises InputError, which names it, if it is damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error

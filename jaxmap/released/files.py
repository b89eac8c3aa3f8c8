"""What the files of the authors' released data folder hold (the modelmap project).

    pretraining_logp.pkl         size -> step -> float32 [N] or None
    8bit_quantization_logp.pkl   name -> [N] or None; 4bit_quantization_logp.pkl likewise
    layer_logp.pkl               name -> layer -> [N] or None
    raw_log-likelihood_1018.pkl  name -> [N]
    oyama2025_logp.pkl           [models, N] clipped from below, rows as in model_list.json
    weight_distance.pkl          size -> [checkpoints, checkpoints] above the diagonal, 0: not done;
                                 checkpoints are those of pretraining_logp.pkl, else Pythia's 154
    modelname2type.json, sibling_info.json
    texts-10k-pile.jsonl or texts.json

A size is a key such as 410m or 410m-seed3, which stands for EleutherAI/pythia-410m-seed3; a key
with a slash is a name already. Any of the files may be absent.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.errors import InputError
from jaxmap.released.pickles import load_arrays
from jaxmap.store.record import checkpoint_name
from jaxmap.store.weight_distances import WeightDistances
from jaxmap.variant import PLAIN, Variant

MEAN_BYTES = 972.3188  # of the published 10,000 texts (Oyama et al., arXiv 2502.16173)
PYTHIA = "EleutherAI/pythia-"
PYTHIA_STEPS = (0, *(2**i for i in range(10)), *range(1000, 143_001, 1000))

PRETRAINING = "pretraining_logp.pkl"
QUANTISED = {"8bit_quantization_logp.pkl": "int8", "4bit_quantization_logp.pkl": "fp4"}
LAYERS = "layer_logp.pkl"
RAW = "raw_log-likelihood_1018.pkl"
CLIPPED = "oyama2025_logp.pkl"
DISTANCES = "weight_distance.pkl"
NAMES, TYPES, PARENTS = "model_list.json", "modelname2type.json", "sibling_info.json"
TEXTS = ("texts-10k-pile.jsonl", "texts.json")
VECTORS = (PRETRAINING, *QUANTISED, LAYERS, RAW, CLIPPED)


@dataclass(frozen=True)
class Vector:
    """One entry of a released file: whose scores, and the scores [N] or None."""

    file: str
    ref: str
    revision: str | None
    variant: Variant
    scores: np.ndarray | None

    @property
    def label(self) -> str:
        return checkpoint_name(self.ref, self.revision) + self.variant.label


def read_vectors(folder: Path, notes: list[str]) -> Iterator[Vector]:
    if (folder / PRETRAINING).exists():
        for size, steps in _mapping(folder / PRETRAINING).items():
            for step, scores in _mapping(folder / PRETRAINING, steps, size).items():
                revision = f"step{_number(step, folder / PRETRAINING, size)}"
                yield _vector(folder / PRETRAINING, run_name(str(size)), scores, revision)
    for file, quantisation in QUANTISED.items():
        if (folder / file).exists():
            for name, scores in _mapping(folder / file).items():
                yield _vector(
                    folder / file, name, scores, variant=Variant(quantisation=quantisation)
                )
    if (folder / LAYERS).exists():
        for name, layers in _mapping(folder / LAYERS).items():
            for layer, scores in _mapping(folder / LAYERS, layers, name).items():
                number = _number(layer, folder / LAYERS, name)
                yield _vector(folder / LAYERS, name, scores, variant=Variant(layer=number))
    raw: set[str] = set()
    if (folder / RAW).exists():
        for name, scores in _mapping(folder / RAW).items():
            raw.add(name)
            yield _vector(folder / RAW, name, scores)
    if (folder / CLIPPED).exists():
        yield from _read_clipped(folder, raw, notes)


def _read_clipped(folder: Path, raw: set[str], notes: list[str]) -> Iterator[Vector]:
    path = folder / CLIPPED
    scores_KN = load_arrays(path)
    if not (folder / NAMES).exists():
        raise InputError(f"{folder}: {CLIPPED} needs {NAMES}, which names its rows: add it")
    try:
        names = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{folder / NAMES}: cannot be read as JSON: {error}") from error
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{folder / NAMES}: has to be a list of model names")
    if not isinstance(scores_KN, np.ndarray) or scores_KN.ndim != 2:
        raise InputError(f"{path}: has to be an array of models by texts")
    if len(names) != len(scores_KN) or len(set(names)) != len(names):
        raise InputError(
            f"{path}: {len(scores_KN)} rows for {len(set(names))} different names in {NAMES}"
        )
    if passed := sum(name in raw for name in names):
        notes.append(f"{CLIPPED}: {passed} models passed over, {RAW} has them unclipped")
    for name, scores in zip(names, scores_KN, strict=True):
        if name not in raw:
            yield _vector(path, name, scores)


def _vector(
    path: Path,
    name: object,
    scores: object,
    revision: str | None = None,
    variant: Variant = PLAIN,
) -> Vector:
    one = Vector(path.name, str(name), revision, variant, None)
    if scores is None:
        return one
    if not isinstance(scores, np.ndarray) or scores.ndim != 1 or scores.dtype.kind not in "fiu":
        raise InputError(f"{path}: {one.label}: has to be an array of one number a text, or None")
    return Vector(path.name, str(name), revision, variant, scores)


def read_distances_of(folder: Path, vectors: list[Vector]) -> Iterator[WeightDistances]:
    path = folder / DISTANCES
    if not path.exists():
        return
    saved: dict[str, list[int]] = defaultdict(list)
    for one in vectors:
        if one.file == PRETRAINING:
            saved[one.ref].append(int(str(one.revision).removeprefix("step")))
    for size, distance in _mapping(path).items():
        if not isinstance(distance, np.ndarray) or distance.ndim != 2:
            raise InputError(f"{path}: {size}: has to be an array of checkpoints by checkpoints")
        steps = sorted(saved[run_name(str(size))]) or list(PYTHIA_STEPS)
        if distance.shape != (len(steps), len(steps)):
            raise InputError(
                f"{path}: {size}: has the shape {distance.shape}, the run has {len(steps)} "
                "checkpoints"
            )
        distance_II = np.where(distance == 0, np.nan, distance.astype(np.float64))
        distance_II[np.tril_indices(len(distance_II))] = np.nan
        yield WeightDistances(run_name(str(size)), np.array(steps), distance_II)


def run_name(size: str) -> str:
    """`EleutherAI/pythia-410m` for the key 410m."""
    return size if "/" in size else PYTHIA + size


def _mapping(path: Path, value: Any = None, key: object = None) -> Mapping[Any, Any]:
    value = load_arrays(path) if value is None and key is None else value
    if not isinstance(value, Mapping):
        where = path if key is None else f"{path}: {key}"
        raise InputError(f"{where}: has to be a dict, is {type(value).__name__}")
    return value


def _number(key: object, path: Path, where: object) -> int:
    text = str(key).removeprefix("step")
    if not text.isdigit():
        raise InputError(f"{path}: {where}: {key!r} is neither a step nor a layer")
    return int(text)

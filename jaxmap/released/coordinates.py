"""Reads the authors' released t-SNE coordinates, see `jaxmap.released.layout`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxmap.errors import InputError
from jaxmap.released.layout import TSNE, ReleasedFolder
from jaxmap.released.pickles import as_dict, load_arrays
from jaxmap.store.released_data import Coordinates

PAIR = ("original", "quantized")  # the keys of the points of a model and its 8-bit version


def read_coordinates(folder: ReleasedFolder) -> dict[str, Coordinates]:
    """The released t-SNE coordinates, by the name of the map."""
    found: dict[str, Coordinates] = {}
    for name, file in TSNE.items():
        path = folder.path(file)
        if path is None:
            continue
        content = as_dict(path, load_arrays(path))
        try:
            found[name] = _COORDINATES[name](content)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(
                f"{path}: is not laid out as released ({type(error).__name__}: {error})"
            ) from error
    return found


def _of_runs(content: Mapping[str, Any]) -> Coordinates:
    metadata = content["metadata"]
    names = tuple(str(name) for name in metadata["model_names"])
    lengths = tuple(int(metadata["model_lengths"][name]) for name in names)
    return _coordinates(names, lengths, np.asarray(content["embedding"]), metadata.get("init", ""))


def _of_pairs(content: Mapping[str, Any]) -> Coordinates:
    points = [np.asarray(one[which]) for one in content.values() for which in PAIR]
    return _coordinates(tuple(content), (2,) * len(content), _stacked(points))


def _of_models(content: Mapping[str, Any]) -> Coordinates:
    points = [np.asarray(xy) for xy in content.values()]
    return _coordinates(tuple(content), (1,) * len(content), _stacked(points))


def _of_layers(content: Mapping[str, Any]) -> Coordinates:
    there = {name: np.asarray(xy) for name, xy in content.items() if xy is not None}
    xy_M2 = np.concatenate(list(there.values())) if there else np.empty((0, 2))
    return _coordinates(tuple(there), tuple(map(len, there.values())), xy_M2)


_COORDINATES = {
    "trajectories": _of_runs,
    "8-bit": _of_pairs,
    "families": _of_models,
    "layers": _of_layers,
}


def _stacked(points: list[np.ndarray]) -> np.ndarray:
    return np.stack(points) if points else np.empty((0, 2))


def _coordinates(
    names: tuple[Any, ...], lengths: tuple[int, ...], xy_M2: np.ndarray, init: str = ""
) -> Coordinates:
    if xy_M2.shape != (sum(lengths), 2) or xy_M2.dtype.kind != "f":
        raise ValueError(f"{sum(lengths)} points in two dimensions expected, found {xy_M2.shape}")
    return Coordinates(tuple(map(str, names)), lengths, xy_M2, str(init))

"""Distances between checkpoints in weight space, kept in a store's folder: STORE/weights/*.npz.

One file a training run: its `ref` (as its checkpoints are named), `steps` int64 [I] and `distance`
float64 [I, I], the squared norm of the difference of all parameters, above the diagonal; NaN where
it was not computed.
"""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxmap.atomic import write_atomic
from jaxmap.errors import InputError
from jaxmap.store.record import file_stem, hash_facts

FOLDER = "weights"


@dataclass(frozen=True)
class WeightDistances:
    """Squared distances between the weights of one run's checkpoints; see the module."""

    ref: str
    steps: np.ndarray
    distance: np.ndarray

    def at(self, steps: np.ndarray) -> np.ndarray:
        """The distances between these steps, [I, I]; NaN for steps that are not there."""
        place = {int(step): i for i, step in enumerate(self.steps)}
        rows = np.array([place.get(int(step), -1) for step in steps])
        found = self.distance[np.ix_(rows, rows)].copy()
        found[rows < 0, :] = np.nan
        found[:, rows < 0] = np.nan
        return found


def write_distances(store_path: Path, distances: WeightDistances) -> Path:
    """Keeps a run's distances in place of earlier ones; returns the file."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        ref=np.array(distances.ref),
        steps=np.asarray(distances.steps, np.int64),
        distance=np.asarray(distances.distance, np.float64),
    )
    stem = file_stem(distances.ref, hash_facts({"ref": distances.ref}))
    path = store_path / FOLDER / f"{stem}.npz"
    write_atomic(path, buffer.getvalue())
    return path


def read_distances(store_path: Path) -> dict[str, WeightDistances]:
    """All distances of a store by the run's ref; InputError names a file that is damaged."""
    found = {}
    for path in sorted((store_path / FOLDER).glob("[!.]*.npz")):
        try:
            with np.load(path, allow_pickle=False) as arrays:
                one = WeightDistances(str(arrays["ref"]), arrays["steps"], arrays["distance"])
            if one.distance.shape != (len(one.steps), len(one.steps)):
                raise ValueError(f"{one.distance.shape} distances of {len(one.steps)} checkpoints")
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not weight distances ({error}): remove it") from error
        found[one.ref] = one
    return found

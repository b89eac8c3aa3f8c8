"""Runs whose weights walk at random, and the distances between them by NumPy."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from jaxmap.checkpoint import weights
from jaxmap.sweeps.weight_distance import Distances, Point
from support.checkpoints import (
    change_tensors,
    make_checkpoint,
    read_tensors,
)

RUN = "runs/tiny"


def make_run(folder: Path, count: int, dtype: str = "float16") -> list[Path]:
    """Checkpoints that walk at random, step 1000 * i in folder/step{1000 * i}."""
    first = make_checkpoint(folder / "step0", dtype=dtype)
    tensors = read_tensors(first)
    random = np.random.default_rng(1)
    folders = [first]
    for i in range(1, count):
        tensors = {
            name: (one.astype(np.float32) + 0.01 * random.normal(size=one.shape)).astype(one.dtype)
            for name, one in tensors.items()
        }
        path = folder / f"step{1000 * i}"
        shutil.copytree(first, path)
        change_tensors(path, lambda t, new=tensors: t.update(new))
        folders.append(path)
    return folders


def oracle(folders) -> np.ndarray:
    """All squared distances, above the diagonal, by NumPy in extended precision."""
    flat = [
        np.concatenate([one.astype(np.longdouble).ravel() for _, one in sorted(t.items())])
        for t in map(read_tensors, folders)
    ]
    found = np.full((len(flat), len(flat)), np.nan)
    for i, a in enumerate(flat):
        for j in range(i + 1, len(flat)):
            found[i, j] = ((a - flat[j]) ** 2).sum()
    return found


def within(distance_II: np.ndarray, window: int) -> np.ndarray:
    places = np.arange(len(distance_II))
    lag = places[None] - places[:, None]
    return np.where((lag > 0) & (lag <= window), distance_II, np.nan)


def measure(folder: Path, take: weights.Take) -> None:
    for key, stored in weights.read(folder):
        take(key, stored)


def take_all(found: Distances, folders, indices=None, run=RUN, model=False) -> None:
    """Visits checkpoints i, each of the commit c{i}."""
    for i in range(len(folders)) if indices is None else indices:
        with found.measuring(run, 1000 * i, f"c{i}", folders[i]) as take:
            if model:
                with weights.opened(folders[i]) as opened:
                    weights.load(opened, tensors=weights.observed(opened.read(), take))
            else:
                measure(folders[i], take)


def planned(store: Path, count: int, **options) -> Distances:
    found = Distances(store, **options)
    found.plan(RUN, range(0, 1000 * count, 1000))
    return found


def files(store: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (store / "weights").iterdir()}


def points(count: int) -> list[Point]:
    return [Point(1000 * i, f"c{i}") for i in range(count)]

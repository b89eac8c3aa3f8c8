"""Facts about the authors' released folder from which a store was imported.

    STORE/release/release.json      contents and dtypes of each file; order of the models,
                                    parents, types, colours of the types
    STORE/release/coordinates.npz   released t-SNE coordinates
    STORE/release/texts.json        the texts, if the folder had them

The published pipeline draws pairs by row number and by the order of the files, so both are stored;
with them an export gives back the same files.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.atomic import write_atomic
from jaxmap.errors import InputError

FOLDER = "release"
PRETRAINING, LAYERS = "pretraining_logp.pkl", "layer_logp.pkl"  # of `Release.files`


@dataclass(frozen=True)
class Coordinates:
    """Released t-SNE coordinates: several points for each name, in order.

    Fields:
      names: the names of runs or models.
      lengths: the number of points of each.
      xy_M2: all points, float [M, 2].
      init: the initialisation of t-SNE, if the release gives it.
    """

    names: tuple[str, ...]
    lengths: tuple[int, ...]
    xy_M2: np.ndarray
    init: str = ""


@dataclass(frozen=True)
class Release:
    """The facts of an imported folder.

    Fields:
      nested: whether its files were in subfolders (logp/, model_info/, ...).
      files: for each file of vectors or distances, the keys of its dict in order: a list of names,
        or name -> list of steps or layers, or name -> None for a model that failed to load.
      dtypes: the dtype of the arrays of each file.
      models: the names of the rows of oyama2025_logp.pkl.
      floor: the lowest entry of that file, if unclipped scores of the same models were imported
        instead; None: its rows are unchanged.
      parents, types, colors: the contents of sibling_info.json, modelname2type.json and
        type2color.json; None if the file was missing.
      coordinates: t-SNE coordinates by file.
    """

    nested: bool = True
    files: Mapping[str, Any] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    floor: float | None = None
    parents: Mapping[str, Any] | None = None
    types: Mapping[str, str | None] | None = None
    colors: Mapping[str, Any] | None = None
    coordinates: Mapping[str, Coordinates] = field(default_factory=dict)


def write_release(store_path: Path, release: Release) -> None:
    """Writes the facts into the store's folder, replacing earlier ones."""
    facts = asdict(release)
    arrays = {name: one.xy_M2 for name, one in release.coordinates.items()}
    for one in facts["coordinates"].values():
        del one["xy_M2"]
    # The file of points first: facts without their points would be a damaged release.
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    write_atomic(store_path / FOLDER / "coordinates.npz", buffer.getvalue())
    write_atomic(store_path / FOLDER / "release.json", (json.dumps(facts) + "\n").encode())


def read_release(store_path: Path) -> Release | None:
    """The facts about the folder from which a store was imported; None for any other store.

    Raises InputError, with the file's name, if they are damaged.
    """
    path = store_path / FOLDER / "release.json"
    if not path.exists():
        return None
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        with np.load(path.with_name("coordinates.npz"), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        coordinates = {
            name: Coordinates(
                tuple(one["names"]), tuple(one["lengths"]), arrays[name], one.get("init", "")
            )
            for name, one in facts.pop("coordinates").items()
        }
        return Release(**(facts | {"models": tuple(facts["models"])}), coordinates=coordinates)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: cannot be read ({error}): run `jaxmap import` again with the same folder"
        ) from error

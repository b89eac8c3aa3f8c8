"""Checks of the path of a store before it is made or opened."""

from __future__ import annotations

import os
from pathlib import Path

from jaxmap.errors import InputError


def check_new(path: Path) -> None:
    """Raises InputError for a path that is a file, or a folder of other files without a store."""
    if os.path.isfile(path):
        raise InputError(f"{path}: is a file, a store is a folder: choose another `store`")
    if not os.path.exists(path / "store.json") and (other := _other_files(path)):
        raise InputError(
            f"{path}: holds other things ({', '.join(other)}) and no store: name a new or "
            "empty folder as `store`"
        )


def check_existing(path: Path) -> None:
    """Raises InputError for a path at which there is no store."""
    if os.path.isfile(path):
        raise InputError(f"{path}: is a file, a store is a folder: check `store`")
    if not os.path.exists(path / "store.json"):
        raise InputError(
            f"{path}: holds no store (no store.json): check `store`, or score models into it"
        )


def _other_files(path: Path, most: int = 3) -> list[str]:
    """The names of some files in a folder, without a killed process's remains of a new store."""
    if not path.is_dir():
        return []
    return sorted(entry.name for entry in os.scandir(path) if entry.name[0] != ".")[:most]

"""Checks before a computation that its results can be written to their path."""

from __future__ import annotations

import os
from pathlib import Path

from jaxmap.atomic import probe
from jaxmap.errors import InputError, JaxmapError


def check_file(path: str | os.PathLike[str], *endings: str, field: str = "out") -> None:
    """Raises InputError unless a file can be written there; nothing is left behind.

    Args:
      path: the file.
      endings: what its name may end in, such as ".csv"; none: anything.
      field: the parameter that names it.
    """
    path = Path(path)
    if endings and not path.name.lower().endswith(endings):
        raise InputError(
            f"unknown ending {path.suffix!r}: use one of {', '.join(endings)}",
            field=field,
            value=path,
        )
    if path.is_dir():
        raise InputError("is a folder: name a file", field=field, value=path)
    _check_place(path.parent, path, field)


def check_folder(path: str | os.PathLike[str], field: str = "out") -> None:
    """Raises InputError unless files can be written in a folder that is there or can be made."""
    path = Path(path)
    if path.exists() and not path.is_dir():
        raise InputError("is a file: name a folder", field=field, value=path)
    _check_place(path, path, field)


def _check_place(folder: Path, path: Path, field: str) -> None:
    """Writes a file, and removes it, in the nearest folder that is there."""
    there = next(one for one in (folder, *folder.absolute().parents) if os.path.lexists(one))
    if not there.is_dir():
        raise InputError("a part of the path is a file, not a folder", field=field, value=path)
    try:
        probe(there)
    except JaxmapError as error:
        raise type(error)(str(error), field=field, value=path) from error

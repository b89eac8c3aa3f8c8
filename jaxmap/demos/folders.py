"""Folders that are never incomplete, and a lock so that one demo at a time uses a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from jaxmap.errors import InputError

TEMP = ".building-"


def build_folder(folder: Path, fill: Callable[[Path], object]) -> None:
    """Lets `fill` write into a temporary folder beside `folder`, then renames it.

    If `folder` exists already, it is kept and the new one is deleted.
    """
    temp = folder.with_name(f"{TEMP}{folder.name}-{os.getpid()}")
    shutil.rmtree(temp, ignore_errors=True)
    temp.mkdir(parents=True)
    try:
        fill(temp)
        for path in temp.rglob("*"):
            if path.is_file():
                _sync(path)
        _sync(temp)
        if not folder.exists():
            os.rename(temp, folder)
            _sync(folder.parent)
    finally:
        shutil.rmtree(temp, ignore_errors=True)


def remove_unfinished(parent: Path) -> None:
    """Removes the remains of an interrupted `build_folder`."""
    if parent.is_dir():
        for path in parent.iterdir():
            if path.name.startswith(TEMP):
                shutil.rmtree(path)


@contextlib.contextmanager
def sole_use(out: Path) -> Iterator[None]:
    """Locks a folder by .lock in it; raises InputError if another demo is using it."""
    with open(out / ".lock", "wb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                f"{out}: another demo is running there: wait for it, or choose another `out`"
            ) from None
        yield


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

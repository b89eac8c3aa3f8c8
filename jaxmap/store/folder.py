"""A folder of small immutable files, each of which is parsed once however often it is listed."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path
from typing import Generic, TypeVar

from absl import logging

from jaxmap.errors import InputError
from jaxmap.store.garbage import garbage_collection_paused
from jaxmap.store.json_files import CorruptError
from jaxmap.store.stale_files import asked_again

T = TypeVar("T")


State = tuple[int, ...]
SETTLED_S = 10.0  # a folder that changed less long ago may change again in the same tick of a clock


class Folder(Generic[T]):
    """The parsed files of a folder, for any number of threads.

    A file that cannot be read is reported once, by name, and counts as absent.

    Args:
      path: the folder.
      suffix: the ending of the files' names.
      read: parses a file.
      group: the key by which parsed files are looked up.
    """

    def __init__(
        self,
        path: Path,
        suffix: str,
        read: Callable[[Path], T],
        group: Callable[[T], Hashable] = lambda value: None,
    ):
        self.path = path
        self._suffix = suffix
        self._read = read
        self._group = group
        self._seen: dict[str, tuple[State, T | CorruptError]] = {}
        self._groups: defaultdict[Hashable, dict[str, T]] = defaultdict(dict)
        self._settled: State | None = None  # of the folder, when it was last looked through
        self._sorted = True
        self._lock = threading.RLock()

    def refresh(self) -> list[T]:
        """Looks at every file again: all that can be read, in the order of their names."""
        with self._lock, garbage_collection_paused():
            self._look(every=True)
            return self.values()

    def update(self) -> None:
        """Takes in the files that came, went or were replaced since the last look, which costs next
        to nothing where none did.

        A file that was changed in place, as a broken disk may do, is noticed by `refresh` alone.
        """
        with self._lock, garbage_collection_paused():
            settled = self._settled_state()
            if settled is None or settled != self._settled:
                self._look(every=False)
                self._settled = settled

    def values(self) -> list[T]:
        """All files that can be read, in the order of their names, as of the last look."""
        with self._lock:
            if not self._sorted:
                self._seen, self._sorted = dict(sorted(self._seen.items())), True
            return [one for _, one in self._seen.values() if not isinstance(one, CorruptError)]

    def items(self) -> list[tuple[Path, T]]:
        """Looks at every file again: all that can be read, with their paths."""
        with self._lock:
            self.refresh()
            return [
                (self.path / name, value)
                for name, (_, value) in self._seen.items()
                if not isinstance(value, CorruptError)
            ]

    def group(self, key: Hashable) -> list[T]:
        """The files of a group in the order of their names, as of the last look."""
        with self._lock:
            by_name = self._groups.get(key, {})
            return [by_name[name] for name in sorted(by_name)]

    def corrupt(self) -> dict[Path, str]:
        """The files that cannot be read, with the reasons, from the last listing."""
        with self._lock:
            return {
                self.path / name: str(value)
                for name, (_, value) in self._seen.items()
                if isinstance(value, CorruptError)
            }

    def _look(self, *, every: bool) -> None:
        """Reads what is new. `every`: each file's size and times are compared, which costs a call
        to the file system per file; else only which files there are."""
        found = self._entries()
        for name in self._seen.keys() - found.keys():
            self._drop(name)
        for name, entry in found.items():
            known = self._seen.get(name)
            if known and not every and known[0][-1] == entry.inode() and not _is_corrupt(known[1]):
                continue
            try:
                stat = asked_again(partial(os.stat, entry.path))
            except FileNotFoundError:  # another process removed it just now
                self._drop(name)
                continue
            state = stat.st_mtime_ns, stat.st_size, stat.st_ino
            if known and known[0] == state:
                continue
            self._drop(name)
            value = self._parse(name)
            self._seen[name] = state, value
            if not isinstance(value, CorruptError):
                self._groups[self._group(value)][name] = value
            self._sorted = False

    def _drop(self, name: str) -> None:
        known = self._seen.pop(name, None)
        if known is not None and not isinstance(known[1], CorruptError):
            key = self._group(known[1])
            del self._groups[key][name]
            if not self._groups[key]:
                del self._groups[key]

    def _entries(self) -> dict[str, os.DirEntry[str]]:
        try:
            return asked_again(self._scan)
        except FileNotFoundError:  # nothing was written yet
            return {}
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror}") from error

    def _scan(self) -> dict[str, os.DirEntry[str]]:
        with os.scandir(self.path) as entries:
            return {
                entry.name: entry
                for entry in entries
                if entry.name.endswith(self._suffix) and not entry.name.startswith(".")
            }

    def _settled_state(self) -> State | None:
        """What changes when a file comes or goes; None where that was so lately that one more
        change might not show."""
        try:
            # Opening asks the server of a network file system, which a mere stat may not.
            folder = os.open(self.path, os.O_RDONLY)
            try:
                stat = os.fstat(folder)
            finally:
                os.close(folder)
        except OSError:
            return None
        if time.time() - stat.st_mtime < SETTLED_S:
            return None
        return stat.st_mtime_ns, stat.st_ino

    def _parse(self, name: str) -> T | CorruptError:
        try:
            return asked_again(lambda: self._read(self.path / name))
        except CorruptError as error:
            logging.warning("%s: %s: left out as if it were absent", self.path / name, error)
            return error


def _is_corrupt(value: object) -> bool:
    return isinstance(value, CorruptError)

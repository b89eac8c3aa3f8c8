"""A folder of small immutable files, each parsed once however often the folder is looked at."""

from __future__ import annotations

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Generic, TypeVar

from absl import logging

from jaxmap.errors import InputError
from jaxmap.store.json_files import CorruptError

T = TypeVar("T")


class Folder(Generic[T]):
    """The parsed files of a folder, for any number of threads; `group` says how they are looked up.

    A file that cannot be read is reported once, by name, and counts as absent.
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
        self._seen: dict[str, tuple[tuple[int, ...], T | CorruptError]] = {}
        self._groups: dict[Hashable, list[T]] = {}
        self._lock = threading.Lock()

    def refresh(self) -> list[T]:
        """Looks at the folder again: all files that can be read, in the order of their names."""
        with self._lock:
            return self._refresh()

    def _refresh(self) -> list[T]:
        seen: dict[str, tuple[tuple[int, ...], T | CorruptError]] = {}
        for name, state in self._states():
            known = self._seen.get(name)
            seen[name] = known if known and known[0] == state else (state, self._parse(name))
        values = [value for _, value in seen.values() if not isinstance(value, CorruptError)]
        if seen != self._seen:
            groups = defaultdict(list)
            for value in values:
                groups[self._group(value)].append(value)
            self._seen, self._groups = seen, dict(groups)
        return values

    def items(self) -> list[tuple[Path, T]]:
        """Looks at the folder again: all files that can be read, with their paths."""
        self.refresh()
        return [
            (self.path / name, value)
            for name, (_, value) in self._seen.items()
            if not isinstance(value, CorruptError)
        ]

    def group(self, key: Hashable) -> list[T]:
        """The files of a group, as of the last look."""
        return self._groups.get(key, [])

    def corrupt(self) -> dict[Path, str]:
        """The files that cannot be read and why, as of the last look."""
        return {
            self.path / name: str(value)
            for name, (_, value) in self._seen.items()
            if isinstance(value, CorruptError)
        }

    def _states(self) -> list[tuple[str, tuple[int, ...]]]:
        """Names and what changes when a file does."""
        states = []
        try:
            entries = list(os.scandir(self.path))
        except FileNotFoundError:  # nothing was written yet
            return []
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror}") from error
        for entry in entries:
            if entry.name.endswith(self._suffix) and not entry.name.startswith("."):
                try:
                    stat = entry.stat()
                except FileNotFoundError:  # another process removed it just now
                    continue
                states.append((entry.name, (stat.st_mtime_ns, stat.st_size, stat.st_ino)))
        return sorted(states)

    def _parse(self, name: str) -> T | CorruptError:
        try:
            return self._read(self.path / name)
        except CorruptError as error:
            logging.warning("%s: %s: left out as if it were absent", self.path / name, error)
            return error

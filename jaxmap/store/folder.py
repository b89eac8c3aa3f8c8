"""A folder of small immutable files, each of which is parsed once however often it is listed."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Hashable
from functools import partial
from pathlib import Path
from typing import Generic, Literal, TypeVar

from absl import logging

from jaxmap.atomic import probe
from jaxmap.errors import InputError, JaxmapError
from jaxmap.store.garbage_collection import garbage_collection_paused
from jaxmap.store.json_files import CorruptError
from jaxmap.store.stale_files import asked_again

T = TypeVar("T")


State = tuple[int, ...]
Listing = Literal["last", "now", "server"]  # see Folder.update
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
        self._listed: dict[str, int] = {}  # name -> inode, as of the last listing
        self._was_listed = False
        self._unread: set[str] = set()  # names of the last listing whose files were not read yet
        self._damaged: set[str] = set()
        self._seen: dict[str, tuple[State, T | CorruptError]] = {}
        self._groups: defaultdict[Hashable, dict[str, T]] = defaultdict(dict)
        self._settled: State | None = None  # of the folder, when it was last listed
        self._sorted = True
        self._lock = threading.RLock()

    def refresh(self) -> list[T]:
        """Compares each file's size and times with those of the last listing, and reads what
        changed; returns all that can be read, in the order of their names."""
        with self._lock, garbage_collection_paused():
            self._list()
            for name in sorted(self._listed):
                self._read_if_new(name)
            return self.values()

    def update(self, wanted: str = "", listing: Listing = "now") -> None:
        """Takes in the files that came, went or were replaced since the last listing.

        A folder that did not change is not listed again. A file that was changed in place, as a
        broken disk may do, is noticed by `refresh` alone.

        Args:
          wanted: of the files that came, only those are read that have this in their names; the
            others are read when a later call wants them. The first call, and one after a file went,
            read all, since someone may have renamed them.
          listing: "now", "last" for what the last listing had, or "server" to list the folder even
            if a network file system has kept an old listing. To drop that one, a file is created in
            the folder, and removed.
        """
        if listing == "server":
            with contextlib.suppress(JaxmapError, OSError):  # who cannot write takes what there is
                probe(self.path, durable=False)
        with self._lock, garbage_collection_paused():
            if listing != "last" or not self._was_listed:
                settled = self._settled_state()
                if settled is None or settled != self._settled:
                    if self._list():
                        wanted = ""
                    self._settled = settled
                    for name in list(self._damaged):  # it may have been written again in place
                        self._read_if_new(name)
            for name in sorted(name for name in self._unread if wanted in name):
                self._read_if_new(name)

    def values(self) -> list[T]:
        """All files that were read, in the order of their names, as of the last listing."""
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
        """The files of a group that were read, sorted by name, as of the last listing."""
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

    def _list(self) -> bool:
        """Lists the folder; returns whether it is the first time or files went or were replaced."""
        first, self._was_listed = not self._seen, True
        before, found = self._listed, self._inodes()
        came = [name for name, inode in found.items() if before.get(name) != inode]
        gone = before.keys() - found.keys() | before.keys() & came
        self._listed = found
        for name in gone:
            self._drop(name)
        self._unread.update(came)
        return first or bool(gone)

    def _read_if_new(self, name: str) -> None:
        """Reads a file, unless it is as it was when it was last read."""
        try:
            stat = asked_again(partial(os.stat, os.path.join(self.path, name)))
        except FileNotFoundError:  # another process removed it just now
            self._drop(name)
            return
        self._unread.discard(name)
        state = stat.st_mtime_ns, stat.st_size, stat.st_ino
        known = self._seen.get(name)
        if known and known[0] == state:
            return
        self._drop(name)
        value = self._parse(name)
        self._seen[name] = state, value
        if isinstance(value, CorruptError):
            self._damaged.add(name)
        else:
            self._groups[self._group(value)][name] = value
        self._sorted = False

    def _drop(self, name: str) -> None:
        self._unread.discard(name)
        self._damaged.discard(name)
        known = self._seen.pop(name, None)
        if known is not None and not isinstance(known[1], CorruptError):
            key = self._group(known[1])
            del self._groups[key][name]
            if not self._groups[key]:
                del self._groups[key]

    def _inodes(self) -> dict[str, int]:
        try:
            return asked_again(self._scan)
        except FileNotFoundError:  # nothing was written yet
            return {}
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read: {error.strerror}") from error

    def _scan(self) -> dict[str, int]:
        suffix = self._suffix
        with os.scandir(self.path) as entries:
            return {
                name: entry.inode()
                for entry in entries
                if (name := entry.name).endswith(suffix) and name[0] != "."
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

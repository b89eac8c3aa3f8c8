"""Limits on downloads that wait to be scored, and on the weights in the Hub's cache.

With a limit, downloaded weights are deleted once they are scored and space is needed. Only weights
that the run itself downloaded are deleted. They are listed in the store before the download begins,
so that a resumed run still knows them; files that were in the cache before are not on the list.
"""

from __future__ import annotations

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from absl import logging

from jaxmap.atomic import write_atomic
from jaxmap.byte_sizes import byte_text
from jaxmap.checkpoint.sources.types import Resolved

FOLDER = "downloads"
AHEAD = 64_000_000_000  # bytes downloaded and not yet scored; four models of 8 billion parameters
_WEIGHTS = (".safetensors", ".bin", ".gguf")
_LOOK_S = 0.2  # seconds between two checks whether the run should stop


@dataclass
class _Kept:
    """Weights that the run has downloaded, or is about to download.

    `users` are the checkpoints that need them and are not scored yet: adapters may share a base.
    """

    folder: Path
    names: tuple[str, ...]
    num_bytes: int
    users: set[str] = field(default_factory=set)

    @property
    def scored(self) -> bool:
        return not self.users


class Budget:
    """Limits the downloaded weights that wait to be scored and, optionally, those in the cache.

    Call `admit` before a download and `release` when the checkpoint is finished, from any thread.

    Args:
      ledger: a folder for the lists of downloaded files.
      limit: the largest number of bytes in the cache; None: no limit, nothing is deleted.
      pinned: returns the folders that must not be deleted now.
      ahead: the largest number of bytes that wait to be scored.
    """

    def __init__(
        self,
        ledger: Path,
        limit: int | None,
        pinned: Callable[[], set[Path]] = lambda: set(),
        ahead: int = AHEAD,
    ):
        self._ledger = ledger
        self._limit = limit
        self._pinned = pinned
        self._ahead = ahead
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._changed = threading.Condition()

    def admit(self, resolved: Resolved, stop: Callable[[], bool] = lambda: False) -> None:
        """Frees disk space for a download: deletes scored weights, or waits until some are scored.

        A checkpoint that is larger than the limit is admitted when nothing else is left to delete.
        Of an adapter its base counts too.
        """
        for part in _downloads(resolved):
            self._admit(part, str(resolved.ref), stop)

    def _admit(self, resolved: Resolved, user: str, stop: Callable[[], bool]) -> None:
        sizes = {
            file.name: file.size or 0
            for file in resolved.remote
            if file.name.endswith(_WEIGHTS) and not (resolved.folder / file.name).exists()
        }
        noted = self._noted(resolved)
        names = tuple(sorted({*sizes, *noted}))
        if not names:
            return
        with self._changed:
            needed = sum(sizes.values())
            known = self._kept.pop(str(resolved.folder), None)  # a second try, or another's base
            while not self._make_room(needed) and self._waiting(user) and not stop():
                self._changed.wait(_LOOK_S)
            if self._limit is not None:
                facts = {"ref": str(resolved.ref), "folder": str(resolved.folder), "names": names}
                write_atomic(self._note(resolved), (json.dumps(facts, indent=1) + "\n").encode())
            num_bytes = needed + _size(resolved.folder, noted)
            users = {user} | (known.users if known is not None else set())
            self._kept[str(resolved.folder)] = _Kept(resolved.folder, names, num_bytes, users)

    def release(self, resolved: Resolved) -> None:
        """Marks a checkpoint as scored or failed; it may be deleted when disk space is needed."""
        for part in _downloads(resolved):
            self._release(part, str(resolved.ref))

    def _release(self, resolved: Resolved, user: str) -> None:
        with self._changed:
            kept = self._kept.get(str(resolved.folder))
            if kept is None and (noted := self._noted(resolved)):
                # It was downloaded by a killed run of this store and is found finished now.
                kept = _Kept(resolved.folder, noted, _size(resolved.folder, noted))
                self._kept[str(resolved.folder)] = kept
            if kept is not None:
                kept.users.discard(user)
                self._make_room(0)
            if self._limit is None and kept is not None and kept.scored:
                self._kept.pop(str(resolved.folder), None)
            self._changed.notify_all()

    def make_all_room(self) -> bool:
        """Deletes all scored weights; returns whether there were any."""
        with self._changed:
            if self._limit is None:
                return False
            scored = [folder for folder, kept in self._kept.items() if kept.scored]
            gone = [self._evict(folder) for folder in scored]
            return any(gone)

    def wait(self, resolved: Resolved, stop: Callable[[], bool]) -> bool:
        """Waits until another checkpoint here is scored; returns false if there is none."""
        with self._changed:
            if self._limit is None:
                return False
            user = str(resolved.ref)
            before = self._waiting(user)
            while before and self._waiting(user) >= before and not stop():
                self._changed.wait(_LOOK_S)
            return before > 0 and not stop()

    def _waiting(self, but: str) -> int:
        """The number of other checkpoints that have weights here and are not scored yet."""
        users = {user for kept in self._kept.values() for user in kept.users}
        return len(users - {but})

    def _make_room(self, needed: int) -> bool:
        """Deletes scored weights, the oldest first; returns whether that frees enough."""
        waiting = sum(kept.num_bytes for kept in self._kept.values() if not kept.scored)
        if self._limit is None:
            return waiting + needed <= self._ahead
        for folder in list(self._kept):
            if self._held() + needed > self._limit and self._kept[folder].scored:
                self._evict(folder)
        return waiting + needed <= self._ahead and self._held() + needed <= self._limit

    def _held(self) -> int:
        return sum(kept.num_bytes for kept in self._kept.values())

    def _evict(self, folder: str) -> bool:
        kept = self._kept[folder]
        if kept.folder in self._pinned():
            return False
        for name in kept.names:
            delete(kept.folder / name)
        logging.info("evicted %s (%s)", kept.folder, byte_text(kept.num_bytes))
        del self._kept[folder]
        self._path(kept.folder).unlink(missing_ok=True)
        return True

    def _noted(self, resolved: Resolved) -> tuple[str, ...]:
        if self._limit is None:
            return ()
        try:
            facts = json.loads(self._note(resolved).read_bytes())
            names = facts["names"] if facts["folder"] == str(resolved.folder) else ()
            return tuple(str(name) for name in names if name == os.path.basename(name))
        except (OSError, ValueError, KeyError, TypeError):
            return ()

    def _note(self, resolved: Resolved) -> Path:
        return self._path(resolved.folder)

    def _path(self, folder: Path) -> Path:
        snapshots = _snapshots(folder)
        inside = "-".join(folder.relative_to(snapshots).parts)
        return self._ledger / f"{snapshots.parent.name}-{inside}.json"


def _downloads(resolved: Resolved) -> Iterator[Resolved]:
    """The parts of a checkpoint that come from the Hub: itself, or an adapter and its base."""
    for part in resolved.parts or (resolved,):
        if part.place == "hub":
            yield part


def delete(path: Path) -> None:
    """Deletes a file of a snapshot, and its blob unless another snapshot links to it too."""
    if not path.is_symlink():
        path.unlink(missing_ok=True)
        return
    blob = path.resolve()
    path.unlink(missing_ok=True)
    for name in _snapshots(path).rglob("*"):
        if name.is_symlink() and name.resolve() == blob:
            return
    blob.unlink(missing_ok=True)


def _snapshots(path: Path) -> Path:
    """The folder of all snapshots of the repository that a path of the Hub's cache belongs to."""
    return next(parent for parent in path.parents if parent.name == "snapshots")


def _size(folder: Path, names: tuple[str, ...]) -> int:
    total = 0
    for name in names:
        try:
            total += (folder / name).stat().st_size
        except OSError:
            continue
    return total

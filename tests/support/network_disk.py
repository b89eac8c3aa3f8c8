"""A file system as a network has it: slow, with old listings, stale handles and lost answers.

Installed in a process, which is one client of the server, it stands in front of what the store
calls. Each call waits. Some fail with ESTALE, or fail after they were done, as when the server's
answer is lost and the client asks again; some renames take long. A listing may be as old as the
client's cache allows, unless the client itself changed something in the folder since.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FOLDERS = ("claims", "workers", "records")  # of a store, on the network's disk


@dataclass(frozen=True)
class Faults:
    """How slow and how unreliable it is."""

    latency_s: float = 0.002  # mean wait of a call
    stale: float = 0.01  # share of calls to open and list that fail with ESTALE
    lost: float = 0.05  # share of links whose answer is lost
    delayed: float = 0.05  # share of renames that take up to `delay_s`
    delay_s: float = 0.5
    listing_age_s: float = 2.0  # of a listing that the client has kept


class Listing(list):
    """The entries of a folder, used as what os.scandir returns."""

    def __enter__(self) -> Listing:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def install(seed: int, faults: Faults = Faults()) -> None:
    """Replaces the calls for the rest of the process; `seed` draws what fails."""
    rng = random.Random(seed)
    kept: dict[str, tuple[float, Listing]] = {}  # folder -> when it was listed, its entries
    changes: dict[str, int] = {}  # folder -> how often this client changed something in it
    real_open, real_link, real_scandir = builtins.open, os.link, os.scandir

    def concerns(path: Any) -> bool:
        return not isinstance(path, int) and any(f"/{one}" in os.fspath(path) for one in FOLDERS)

    def wait(path: Any, *, may_be_stale: bool = False) -> None:
        time.sleep(rng.expovariate(1 / faults.latency_s))
        if may_be_stale and rng.random() < faults.stale:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), os.fspath(path))

    def changed(path: Any) -> None:
        folder = os.path.dirname(os.fspath(path))
        changes[folder] = changes.get(folder, 0) + 1
        kept.pop(folder, None)

    def changing(call: Callable[..., Any], *, may_be_delayed: bool = False) -> Callable[..., Any]:
        def called(path: Any, *arguments: Any, **options: Any) -> Any:
            if not concerns(path):
                return call(path, *arguments, **options)
            wait(path)
            if may_be_delayed and rng.random() < faults.delayed:
                time.sleep(rng.uniform(0, faults.delay_s))
            try:
                return call(path, *arguments, **options)
            finally:
                changed(path)

        return called

    def link(source: Any, target: Any, **options: Any) -> None:
        wait(target)
        try:
            real_link(source, target, **options)
        finally:
            changed(target)
        if rng.random() < faults.lost:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))

    def opened(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if not concerns(path):
            return real_open(path, mode, *arguments, **options)
        wait(path, may_be_stale=mode.startswith("r"))
        try:
            return real_open(path, mode, *arguments, **options)
        finally:
            if not mode.startswith("r"):
                changed(path)

    def scandir(path: Any = ".") -> Any:
        if not concerns(path):
            return real_scandir(path)
        folder = os.fspath(path)
        when, listing = kept.get(folder, (0.0, None))
        if listing is None or time.monotonic() - when > rng.uniform(0, faults.listing_age_s):
            wait(path, may_be_stale=True)
            when, before = time.monotonic(), changes.get(folder, 0)
            with real_scandir(path) as entries:
                listing = Listing(entries)
            if changes.get(folder, 0) == before:
                kept[folder] = when, listing
        return listing

    builtins.open = io.open = opened  # type: ignore[assignment] # pathlib has the latter
    os.link, os.scandir = link, scandir  # type: ignore[assignment]
    os.replace = changing(os.replace, may_be_delayed=True)
    os.unlink = changing(os.unlink)

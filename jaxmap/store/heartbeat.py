"""Heartbeats: what the workers of a store are doing, in STORE/workers/NAME.json.

A worker writes its file again and again while it runs. Clocks of different machines are never
compared, and none has to be right: a process on this machine is found by its pid; one on another
machine counts as running as long as its file keeps changing while it is watched.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import socket
import threading
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from absl import logging

from jaxmap.atomic import DAY_S, remove_stale_temps, write_atomic
from jaxmap.errors import JaxmapError
from jaxmap.store.json_files import CorruptError, decode_json, encode_json
from jaxmap.store.stale_files import asked_again, is_stale

FOLDER = "workers"
INTERVAL = 5.0  # seconds between two updates of a worker's file ("beats")
LOST = 60.0  # seconds without a beat after which a process on another machine counts as gone

Outcome = Literal["scored", "found", "failed"]


@dataclass(frozen=True)
class Worker:
    """A worker, that is, a process that scores models into a store, as of its last beat."""

    name: str
    host: str
    pid: int
    started: int  # when the process started, in ticks since its machine started; 0: unknown
    place: str  # identifies the machine and its boot; `pid` is only valid within it
    clock: float  # seconds of `place`'s own clock at the beat
    beat: int  # the number of the beat
    command: str
    total: int  # the number of its items
    scored: int
    found: int  # items that were done already
    failed: int
    item: str  # the item in progress, "" for none
    texts: int  # texts of that item that are done
    texts_of: int  # all texts of that item
    all_texts: int  # texts of all items that are done
    seconds: float  # since it started
    doing: str = ""  # "loading" or "compiling" before scores come

    @property
    def items_per_second(self) -> float:
        """Items scored per second, including the part of the item in progress; NaN at first."""
        part = self.texts / self.texts_of if self.texts_of else 0.0
        amount = self.scored + self.failed + part
        return amount / self.seconds if amount and self.seconds > 0 else float("nan")

    @property
    def texts_per_second(self) -> float:
        """The speed over the worker's whole life; NaN before its first second."""
        return self.all_texts / self.seconds if self.seconds > 0 else float("nan")


class Heartbeat:
    """Writes, while the context is open, what this process does; its file is removed at the end.

    Errors in writing are logged once and never stop a run. Methods may be called by any thread.
    """

    def __init__(
        self, store_path: Path, total: int, command: str = "", *, interval: float = INTERVAL
    ):
        self._folder = store_path / FOLDER
        self._interval = interval
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._began = time.monotonic()
        self._warned = False
        host, pid = _host(), os.getpid()
        self.name = f"{host}-{pid}-{secrets.token_hex(4)}"
        self._facts = dict(
            name=self.name, host=host, pid=pid, started=_started(pid), place=_place(), clock=0.0,
            beat=0, command=command, total=total, scored=0, found=0, failed=0, item="", texts=0,
            texts_of=0, all_texts=0, seconds=0.0, doing="",
        )  # fmt: skip

    def __enter__(self) -> Heartbeat:
        self._began = time.monotonic()
        try:
            remove_stale_temps(self._folder)
            _remove_dead(self._folder)
        except (JaxmapError, OSError) as error:
            self._warn(error)
        self._write()
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        try:
            (self._folder / f"{self.name}.json").unlink(missing_ok=True)
        except OSError as error:
            self._warn(error)

    def begin(self, label: str) -> None:
        """Reports that an item begins."""
        with self._lock:
            self._facts.update(item=label, texts=0, texts_of=0)

    def doing(self, word: str) -> None:
        """Reports what is done before scores come: "loading", "compiling"; "": it has ended."""
        with self._lock:
            self._facts.update(doing=word)

    def texts(self, done: int, of: int) -> None:
        """Reports the number of texts of the item that are done."""
        with self._lock:
            self._facts["all_texts"] += max(0, done - self._facts["texts"])  # type: ignore[operator]
            self._facts.update(texts=done, texts_of=of)

    def end(self, label: str, outcome: Outcome, seconds: float = 0.0) -> None:
        """Reports that an item is done, was done before, or failed."""
        with self._lock:
            self._facts[outcome] += 1  # type: ignore[operator]
            if self._facts["item"] == label:
                self._facts.update(item="", texts=0, texts_of=0)

    def _run(self) -> None:
        while not self._stop.wait(self._interval):
            self._write()

    def _write(self) -> None:
        with self._lock:
            self._facts["beat"] += 1  # type: ignore[operator]
            self._facts.update(clock=_clock(), seconds=round(time.monotonic() - self._began, 3))
            content = encode_json(self._facts)
        try:
            write_atomic(self._folder / f"{self.name}.json", content, durable=False)
        except (JaxmapError, OSError) as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            logging.warning("no heartbeat for `jaxmap status`: %s", error)
            self._warned = True


@dataclass(frozen=True)
class Seen:
    """A worker, the seconds since its last beat, and whether it is running.

    For a worker on another machine, these are the seconds since its last beat was first seen; NaN
    at the first reading.
    """

    worker: Worker
    age: float
    lives: bool


class Workers:
    """The workers of a store, seen from outside; it remembers earlier readings."""

    def __init__(self, store_path: Path, *, lost: float = LOST):
        self._folder = store_path / FOLDER
        self._lost = lost
        self._seen: dict[str, tuple[int | None, float]] = {}  # beat, our clock when first seen

    def seen(self) -> list[Seen]:
        """All workers that have a file, by name."""
        found = []
        for path in sorted(_files(self._folder)):
            with contextlib.suppress(CorruptError):  # it cannot be read now
                found.append(self._see(path))
        return [seen for seen in found if seen is not None]

    def alive(self, name: str) -> bool:
        """Whether a worker is running.

        A worker on another machine counts as running until it was watched for `lost` seconds
        without a beat.
        """
        try:
            seen = self._see(self._folder / f"{name}.json")
        except CorruptError:  # it cannot be read now
            return True
        return seen is not None and seen.lives

    def _see(self, path: Path) -> Seen | None:
        worker = _read(path)
        if worker is None:
            return None
        now = time.monotonic()
        if worker.place == _place():
            return Seen(worker, max(0.0, _clock() - worker.clock), _lives(worker))
        beat, since = self._seen.get(worker.name, (None, now))
        if beat != worker.beat:
            self._seen[worker.name] = worker.beat, now
            return Seen(worker, math.nan if beat is None else 0.0, True)
        return Seen(worker, now - since, now - since < self._lost)


def _files(folder: Path) -> list[Path]:
    return asked_again(lambda: list(folder.glob("[!.]*.json")))


def _read(path: Path) -> Worker | None:
    """None for a file that is gone or damaged; CorruptError where its handle stays stale."""
    try:
        facts = asked_again(lambda: decode_json(path))
        known = {field.name for field in fields(Worker)}  # a later version may say more
        return Worker(**{name: fact for name, fact in facts.items() if name in known})
    except (CorruptError, TypeError) as error:
        if is_stale(error):
            raise
        return None


def _remove_dead(folder: Path) -> None:
    """Removes files of killed processes of this machine, and files more than a day old.

    Only files of this machine are read: of a thousand workers that start together each would
    otherwise read a thousand files.
    """
    ours = f"{_host()}-"
    for path in _files(folder):
        try:
            dead = False
            if path.name.startswith(ours):
                worker = _read(path)
                dead = worker is not None and worker.place == _place() and not _lives(worker)
            if dead or abs(time.time() - path.stat().st_mtime) > DAY_S:
                path.unlink(missing_ok=True)
        except (FileNotFoundError, CorruptError):  # another process was faster; it cannot be read
            continue


def _lives(worker: Worker) -> bool:
    """Whether a process of this machine is running, and is not another one with the same pid."""
    try:
        os.kill(worker.pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return worker.started == _started(worker.pid)


def _host() -> str:
    return "".join(c if c.isalnum() else "_" for c in socket.gethostname()) or "host"


def _place() -> str:
    """Identifies this boot of this machine and its process ids (a container has its own)."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # not Linux
        return socket.gethostname()


def _clock() -> float:
    """Seconds since the machine started, the same for all its processes."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _started(pid: int) -> int:
    try:
        # The program's name, in parentheses, may contain any character.
        facts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        # A zombie, whose parent has not yet read its exit status, does not count.
        return -1 if facts[0] in "ZX" else int(facts[19])
    except (OSError, IndexError, ValueError):
        return 0

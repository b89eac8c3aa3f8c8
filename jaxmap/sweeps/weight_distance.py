"""Measures weight distances between checkpoints while the checkpoints are loaded.

A distance is the squared norm of the difference of all parameters between a checkpoint and an
earlier one of its training run; Kishino et al. (arXiv 2505.15353) use the ten before it. They are
computed from the tensors that are read to fill the model, so every checkpoint is read once: the
tensors of the last ten checkpoints stay in the host's memory as they are stored. If only k of them
fit in half of the free memory, the latest k stay and the others are read again from their folders,
one tensor at a time; each checkpoint is then read 1 + (10 - k) times.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from absl import logging

from jaxmap.atomic import check_writable, remove_stale_temps
from jaxmap.checkpoint import weights
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.checkpoint.host_memory import free_memory
from jaxmap.checkpoint.tensor_difference import squared_distances
from jaxmap.environment import cores
from jaxmap.errors import InputError, JaxmapError
from jaxmap.store.weight_distances import WINDOW, DistanceRequest, DistanceRow, DistanceTable

_MOST_THREADS = 8  # the largest number of threads that measure one checkpoint
SHARE = 0.5  # the share of the free memory for tensors of earlier checkpoints


class Point(NamedTuple):
    """A checkpoint of a run; one without a commit does not exist but counts in the window."""

    step: int
    commit: str | None


@dataclass(eq=False)
class _Kept:
    """An earlier checkpoint; `tensors` is None if they must be read again from its folder."""

    step: int
    commit: str
    place: int  # among the run's checkpoints
    checkpoint: Checkpoint
    tensors: dict[str, np.ndarray] | None


@dataclass(eq=False)
class _Pair:
    """A distance that is being computed: the sums over the tensors so far."""

    earlier: _Kept
    tensors: Mapping[str, np.ndarray | Stored]
    leaves: bool  # whether its tensors are not needed after this checkpoint
    sums: list[float] = field(default_factory=list)
    differs: str = ""  # the tensors that cannot be compared

    def __post_init__(self):
        self.unmet = set(self.tensors)

    def take(self, key: str) -> np.ndarray | None:
        """The earlier checkpoint's tensor, from memory or from its file."""
        one = self.tensors.get(key)
        self.unmet.discard(key)
        if self.leaves and self.earlier.tensors is not None:
            self.earlier.tensors.pop(key, None)
        return one.read() if isinstance(one, Stored) else one


class Distances:
    """Weight distances of the runs of a store; from any thread, one checkpoint at a time.

    `measuring` must be called for the checkpoints of a run in the order of their steps, one run
    after another.

    Args:
      store_path: the store's folder.
      window: the number of earlier checkpoints to measure distances to.
      memory: the bytes for tensors of earlier checkpoints; None: half of the free memory at the
        first call.
    """

    def __init__(
        self,
        store_path: Path,
        window: int = WINDOW,
        *,
        memory: int | None = None,
    ):
        if window < 1:
            raise InputError("must be at least 1 checkpoint", field="weight_distance", value=window)
        self._rows = DistanceTable(store_path)
        check_writable(self._rows.path)
        remove_stale_temps(self._rows.path)
        self._window = window
        self._memory = memory
        self._plans: dict[str, dict[int, int]] = {}
        self._own: dict[str, set[int]] = {}  # steps whose rows this process writes, if not all
        self._run: str | None = None
        self._room = 0
        self._kept: list[_Kept] = []
        self._lock = threading.RLock()

    def plan(self, run: str, steps: Sequence[int]) -> None:
        """Sets the checkpoints of a run: all that any process requests, even if some fail.

        The window counts these checkpoints. The request for their distances is stored, if that
        was not done at the start of the sweep.
        """
        steps = sorted(set(steps))
        with self._lock:
            self._plans[run] = {step: place for place, step in enumerate(steps)}
            self._rows.ask(DistanceRequest(run, tuple(steps), self._window))

    def known(self, run: str) -> bool:
        """Whether the store has distances of a run."""
        with self._lock:
            return bool(self._rows.of(run))

    def missing(self, run: str, points: Sequence[Point], first: int = 0) -> set[int]:
        """The steps to load so that the store gets each distance that it lacks.

        Args:
          run: a planned run.
          points: some or all of its checkpoints, by step.
          first: the index of the first point whose distances to earlier points are needed. The
            distances of the points before it are computed by another process.
        """
        with self._lock:
            plan, rows = self._plans[run], self._rows.of(run)
            self._own.setdefault(run, set()).update(point.step for point in points[first:])
            found: set[int] = set()
            for i, (step, commit) in list(enumerate(points))[first:]:
                row = rows.get((step, commit or ""))
                for j, earlier in enumerate(points[:i]):
                    if plan[step] - plan[earlier.step] > self._window:
                        continue
                    if commit is None or earlier.commit is None:
                        continue
                    if row is None or (earlier.step, earlier.commit) not in row.to:
                        found |= {i, j}
            return found

    @contextlib.contextmanager
    def measuring(
        self, run: str, step: int, commit: str, where: Path | Checkpoint
    ) -> Iterator[weights.Take]:
        """Yields a function that takes the tensors of a checkpoint as they are read.

        It is used with `weights.observed`. When the block ends, the distances to the checkpoints
        measured before are in the store; after an exception the checkpoint does not count as
        measured.
        """
        with self._lock:
            place, checkpoint = self._plans[run][step], Checkpoint.of(where)
            self._begin(run, checkpoint)
            new = _Kept(step, commit, place, checkpoint, {})
            near = [kept for kept in self._kept if 0 < abs(kept.place - place) <= self._window]
            stay = [kept for kept in near if kept.place > place - self._window]
            latest = sorted([*stay, new], key=lambda kept: kept.place)[-self._room :]
            in_memory = latest if self._room else []
            try:
                with contextlib.ExitStack() as stack:
                    pairs = [
                        _Pair(kept, found, kept not in in_memory)
                        for kept in near
                        if (found := self._open(kept, stack)) is not None
                    ]
                    threads = stack.enter_context(ThreadPoolExecutor(min(_MOST_THREADS, cores())))

                    def take(key: str, stored: np.ndarray) -> None:
                        met, olds = [], []
                        for pair in pairs:
                            old = pair.take(key)
                            if old is not None and old.shape == stored.shape:
                                met.append(pair)
                                olds.append(old)
                            else:
                                pair.differs = key
                        sums = squared_distances(stored, olds, threads)
                        for pair, value in zip(met, sums, strict=True):
                            pair.sums.append(value)
                        if new in in_memory and new.tensors is not None:
                            new.tensors[key] = _owned(stored)

                    yield take
                self._keep([*stay, new], in_memory)
            except BaseException:
                self._keep(stay, in_memory)
                raise
            self._write(run, new, pairs)

    def pinned(self) -> set[Path]:
        """The folders that will be read again because their tensors are not in memory."""
        return {kept.checkpoint.folder for kept in self._kept if kept.tensors is None}

    # Inside

    def _begin(self, run: str, checkpoint: Checkpoint) -> None:
        """Decides how many checkpoints of a run are kept in memory."""
        if run == self._run:
            return
        self._run, self._kept = run, []
        if self._memory is None:
            # Measured once, because memory that the process frees later may not appear as free.
            self._memory = int(SHARE * free_memory())
        size = checkpoint.num_bytes
        self._room = min(self._window, self._memory // max(size, 1))
        if self._room < self._window:
            logging.warning(
                "%s: of %d checkpoints of %.1f GB, %d fit in the %.1f GB of memory for weight "
                "distances; the others are read again for each later one",
                run,
                self._window,
                size / 1e9,
                self._room,
                self._memory / 1e9,
            )

    def _open(
        self, kept: _Kept, stack: contextlib.ExitStack
    ) -> Mapping[str, np.ndarray | Stored] | None:
        """A checkpoint's tensors, in memory or in its files; None if the files are gone."""
        if kept.tensors is not None:
            return kept.tensors
        try:
            return stack.enter_context(weights.opened(kept.checkpoint)).stored()
        except (JaxmapError, OSError) as error:
            logging.warning("no weight distance to step %d: %s", kept.step, error)
            return None

    def _keep(self, kept: list[_Kept], in_memory: Sequence[_Kept]) -> None:
        self._kept = kept
        for one in kept:
            if one not in in_memory:
                one.tensors = None

    def _write(self, run: str, new: _Kept, pairs: Sequence[_Pair]) -> None:
        rows: dict[tuple[int, str], dict[tuple[int, str], float]] = {}
        for pair in pairs:
            early, late = sorted((new, pair.earlier), key=lambda kept: kept.place)
            differs = pair.differs or min(pair.unmet, default="")
            if differs:
                logging.warning(
                    "%s: steps %d and %d have no distance between their weights: they differ in %s",
                    run,
                    early.step,
                    late.step,
                    differs,
                )
            to = rows.setdefault((late.step, late.commit), {})
            to[early.step, early.commit] = math.nan if differs else math.fsum(pair.sums)
        for (step, commit), to in rows.items():
            if step in self._own.get(run, (step,)):
                self._rows.add(DistanceRow(run, step, commit, to))


def _owned(stored: np.ndarray) -> np.ndarray:
    """The array itself, or a copy if it is a view of a mapped file, which may be deleted."""
    base: object = stored
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    return stored if isinstance(base, np.ndarray | bytes | bytearray) else stored.copy()

"""A sweep over many checkpoints: each is fetched and loaded once, in advance, and then scored.

Finished results are never computed again, whatever happened to an earlier run. Several workers
share a store, and a bad checkpoint does not affect the others. Each stage has a module:
`preparation`, `loading`, `recording`; `prefetch` has the threads in which they run, `resume` saves
unfinished scores.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import jax
from absl import logging

from jaxmap.atomic import remove_stale_temps
from jaxmap.checkpoint.refs import is_folder
from jaxmap.checkpoint.sources.cache import FOLDER as DOWNLOADS
from jaxmap.checkpoint.sources.cache import Budget
from jaxmap.engine.callbacks import Stopped
from jaxmap.store.claims import Claims
from jaxmap.store.heartbeat import Heartbeat, Workers
from jaxmap.store.requests import PARTIAL
from jaxmap.sweeps.checkpoint_scorer import CheckpointScorer
from jaxmap.sweeps.limits import DEFAULT, Limits
from jaxmap.sweeps.loading import Loader
from jaxmap.sweeps.outcome import Outcome
from jaxmap.sweeps.prefetch import Prefetcher
from jaxmap.sweeps.preparation import Preparer
from jaxmap.sweeps.recording import Recorder
from jaxmap.sweeps.stages import Busy, Loaded
from jaxmap.sweeps.tasks import Task
from jaxmap.sweeps.weight_distance import Distances


class Sweep:
    """Does the tasks of one worker on a store; `run` can be called once.

    Args:
      scorer: loads and scores a checkpoint.
      tasks: the tasks, in order (`plan_tasks`).
      stop: called often; true means that the run should stop.
      command: the command line, for `jaxmap status`.
      limits: waiting times and limits.
    """

    def __init__(
        self,
        scorer: CheckpointScorer,
        tasks: Sequence[Task],
        *,
        stop: Callable[[], bool] = lambda: False,
        command: str = "",
        limits: Limits = DEFAULT,
    ):
        self._scorer = scorer
        self._store = scorer.store
        self._tasks = list(tasks)
        self._stop = stop
        self._command = command
        self._limits = limits
        settings = scorer.settings
        self._distances: Distances | None = None
        if settings.weight_distance:
            self._distances = Distances(self._store.path, settings.weight_distance)
        pinned = self._distances.pinned if self._distances is not None else lambda: set()
        self._budget = Budget(
            self._store.path / DOWNLOADS, settings.cache_budget, pinned, limits.download_bytes
        )

    def run(self) -> Outcome:
        """Does all unfinished tasks; raises JaxmapError if the store cannot be written."""
        path = self._store.path
        total = sum(len(task.items) for task in self._tasks)
        checkpoints = sum(bool(task.items) for task in self._tasks)
        for folder in (PARTIAL, DOWNLOADS):
            remove_stale_temps(path / folder)
        with Heartbeat(path, total, self._command) as heartbeat:
            claims = Claims(path, heartbeat.name, Workers(path))
            self._scorer.progress = heartbeat.doing
            recorder = Recorder(self._scorer, self._store, heartbeat, checkpoints, self._stop)
            try:
                tasks, waits = self._tasks, 0
                while tasks and not self._stop():
                    busy = self._round(tasks, claims, recorder)
                    if len(busy) < len(tasks):
                        waits = 0
                    else:
                        if not waits:
                            logging.info("waiting for %d tasks of other workers", len(busy))
                        self._wait(waits)
                        waits += 1
                    tasks = busy
            finally:
                claims.release_all()
        return recorder.outcome(total)

    def _wait(self, waits: int) -> None:
        """Waits until others may have done something, or until the run should stop.

        Args:
          waits: how many waits in a row came to nothing.
        """
        longest = min(self._limits.busy_s * 2.0**waits, self._limits.busy_most_s)
        ends = time.monotonic() + longest * random.uniform(0.5, 1)  # workers not all at once
        while (left := ends - time.monotonic()) > 0 and not self._stop():
            time.sleep(min(left, 1.0))

    def _round(self, tasks: Sequence[Task], claims: Claims, recorder: Recorder) -> list[Task]:
        """Goes over the tasks once; returns those that other workers have claimed."""
        closing = threading.Event()
        preparer = Preparer(
            tasks,
            self._store,
            claims,
            self._distances,
            self._budget,
            halted=lambda: closing.is_set() or self._stop(),
            engine=self._scorer.settings.engine,
        )
        loader = Loader(self._scorer, self._distances, self._limits)
        prepared = Prefetcher(self._until_stopped(tasks), preparer.prepare)
        loaded = Prefetcher(prepared, loader.load)
        if not all(is_folder(task.ref.name) for task in tasks):
            prepared.start(self._limits.downloads)
        # On a CPU loading and scoring compete for the cores, so only if loading waits for a disk.
        if jax.default_backend() != "cpu":
            loaded.start()
        busy: list[Task] = []
        left = Counter(task.group for task in tasks)
        try:
            while (stage := next(loaded, None)) is not None:
                if isinstance(stage, Busy):
                    busy.append(stage.task)
                    continue
                recorder.finish(stage)
                group, resolved = stage.task.group, stage.resolved
                if isinstance(stage, Loaded) and self._waits(stage):
                    loaded.start()  # the disk is waited for: score meanwhile
                # Frees the model, and with an error the arrays that its traceback references.
                stage = None
                loader.release()
                if resolved is not None:
                    self._budget.release(resolved)
                left[group] -= 1
                if left[group] == 0:
                    claims.release(group.label)
        except Stopped:
            pass
        finally:
            closing.set()
            loader.release()
            prepared.close()
            loaded.close()
        return busy

    def _waits(self, stage: Loaded) -> bool:
        """Whether loading mostly waited for a disk instead of computing."""
        share = self._limits.idle_share * stage.seconds
        return stage.idle > max(self._limits.idle_s, share)

    def _until_stopped(self, tasks: Sequence[Task]) -> Iterator[Task]:
        for task in tasks:
            if self._stop():
                return
            yield task

"""Many checkpoints, one visit each: fetched and loaded ahead, scored, measured, kept.

What is finished is never done again, whatever happened to the run before; several workers share a
store; one bad checkpoint costs the others nothing. See `pipeline` for the threads, `visit` for one
checkpoint's work, `partial` for what survives of a vector that is being computed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import jax
from absl import logging

from jaxmap.atomic import remove_stale_temps
from jaxmap.checkpoint import weights
from jaxmap.checkpoint.memory import free_memory
from jaxmap.checkpoint.refs import Ref, is_folder
from jaxmap.checkpoint.sources.cache import FOLDER as DOWNLOADS
from jaxmap.checkpoint.sources.cache import Budget
from jaxmap.checkpoint.sources.files import fetch, resolve
from jaxmap.checkpoint.sources.hub import DiskFullError
from jaxmap.checkpoint.sources.types import CheckpointFiles, Resolved
from jaxmap.engine.scores import Stopped
from jaxmap.errors import InputError
from jaxmap.store.claims import Claims
from jaxmap.store.heartbeat import Heartbeat, Workers
from jaxmap.store.requests import PARTIAL, Item
from jaxmap.sweeps.checkpoint_scorer import Visitor
from jaxmap.sweeps.prefetch import Ahead, Stopwatch
from jaxmap.sweeps.tasks import Group, Outcome, Visit, Work, failure_of, reason_of
from jaxmap.sweeps.weight_distance import Distances, Point

DOWNLOADS_AHEAD = 3  # checkpoints fetched or being fetched beyond the one that is loaded
_WAITED = 0.2  # of a load's time; more than this is waiting for a disk, not computing
_WAITED_S = 0.05
_BUSY_S = 2.0  # between two looks at what other workers are doing


class Sweep:
    """The works of one worker on a store. For one `run`.

    Args:
      visitor: scores a checkpoint.
      works: what is to be done, in order (`plan_works`).
      stop: asked often; true when the run is to end.
      command: the command line, for `jaxmap status`.
    """

    def __init__(
        self,
        visitor: Visitor,
        works: Sequence[Work],
        *,
        stop: Callable[[], bool] = lambda: False,
        command: str = "",
    ):
        self.store = visitor.store
        self.visitor = visitor
        self.outcome = Outcome()
        self._works = list(works)
        self._number = sum(bool(work.items) for work in works)
        self._stop = stop
        self._command = command
        self._closing = False
        self._store_lock = threading.RLock()  # a Store is for one thread at a time
        self._distances_lock = threading.RLock()
        self._distances: Distances | None = None
        if window := visitor.settings.weight_distance:
            self._distances = Distances(self.store.path, window)
        self._budget = Budget(
            self.store.path / DOWNLOADS, visitor.settings.cache_budget, self._pinned
        )
        self._free = threading.Event()  # no checkpoint is in memory
        self._free.set()
        self._settled: set[Item] = set()
        self._beat: Heartbeat
        self._claims: Claims

    def run(self) -> Outcome:
        """Does all that is not done; JaxmapError where the store, or the disk, refuses."""
        total = sum(len(work.items) for work in self._works)
        for folder in (PARTIAL, DOWNLOADS):
            remove_stale_temps(self.store.path / folder)
        with Heartbeat(self.store.path, total, self._command) as self._beat:
            self._claims = Claims(self.store.path, self._beat.name, Workers(self.store.path))
            try:
                works, waited = self._works, False
                while works and not self._stop():
                    busy = self._round(works)
                    if len(busy) == len(works):
                        if not waited:
                            logging.info("waiting for %d that other workers are at", len(busy))
                            waited = True
                        time.sleep(_BUSY_S)
                    works = busy
            finally:
                self._claims.release_all()
        if self._stop() and len(self._settled) < total:
            self.outcome = dataclasses.replace(self.outcome, stopped=True)
        return self.outcome

    # The pipeline

    def _round(self, works: Sequence[Work]) -> list[Work]:
        """One pass; returns the works that other workers are at."""
        for work in works:
            if not work.group.ours:
                work.group.ours, work.group.left = None, 0
        for work in works:
            work.group.left += 1
        busy: list[Work] = []
        fetched = Ahead(self._until_stopped(works), self._prepare)
        loaded = Ahead(fetched, self._load)
        if not all(is_folder(work.ref.name) for work in works):
            fetched.start(DOWNLOADS_AHEAD)
        # On a CPU loading and scoring want the same cores: only when loading is seen to wait.
        if jax.default_backend() != "cpu":
            loaded.start()
        try:
            while (visit := next(loaded, None)) is not None:
                if visit.state == "busy":
                    busy.append(visit.work)
                    continue
                self._finish(visit)
                visit.loaded = visit.error = None  # whose traceback may hold arrays
                self._free.set()
                if not loaded.started and visit.idle > max(_WAITED_S, _WAITED * visit.loading):
                    loaded.start()  # the disk is waited for: score meanwhile
                if visit.resolved is not None:
                    self._budget.release(visit.resolved)
                visit.work.group.left -= 1
                if visit.work.group.left == 0:
                    self._claims.release(visit.work.group.label)
        except Stopped:
            pass
        finally:
            self._closing = True
            self._free.set()
            fetched.close()
            loaded.close()
            self._closing = False
        return busy

    def _until_stopped(self, works: Sequence[Work]) -> Iterator[Work]:
        for work in works:
            if self._stop():
                return
            yield work

    # The stages: errors become the visit's, but for those that end the run

    def _prepare(self, work: Work) -> Visit:
        """Claims, resolves and fetches a checkpoint, unless nothing is missing of it."""
        visit = Visit(work, missing=list(work.items))
        started = time.perf_counter()
        try:
            self._begin(work.group)
            if not work.group.ours:
                visit.state = "busy"
                return visit
            visit.resolved = self._resolve(work)
            visit.missing = self._missing(work, visit.resolved.commit)
            visit.measure = work.group.run is not None and work.step in work.group.wanted
            if not visit.missing and not visit.measure:
                visit.state = "found"
                return visit
            visit.files = self._fetch(visit.resolved)
        except (Stopped, DiskFullError):
            raise
        except Exception as error:
            visit.state, visit.error = "failed", error
        visit.fetching = time.perf_counter() - started
        return visit

    def _load(self, visit: Visit) -> Visit:
        """Brings a checkpoint into memory; its weights are measured as they are read."""
        if visit.state != "ready":
            return visit
        assert visit.files is not None
        watch = Stopwatch()
        try:
            self._wait_for_room(visit.files)
            watch = Stopwatch()
            with self._measuring(visit) as take:
                if visit.missing:
                    visit.loaded = self.visitor.load(visit.files, take, visit.missing)
                    self._free.clear()
                elif take is not None:
                    for key, stored in weights.read(self.visitor.checkpoint(visit.files)):
                        take(key, stored)
        except Exception as error:
            visit.state, visit.error, visit.loaded = "failed", error, None
        visit.loading, visit.idle = watch.wall, watch.idle
        return visit

    def _finish(self, visit: Visit) -> None:
        """Scores what is missing, or notes why not."""
        work = visit.work
        for item in work.items:
            if item not in visit.missing:
                with self._store_lock:
                    self.store.settle(item, visit.commit)
                self.visitor.forget_partial(item)
                self.outcome.found.append(item.label)
                self._end(item, "found")
        if visit.error is not None:
            for item in visit.missing:
                self._fail(item, visit.commit, visit.error)
            if visit.measure and not visit.missing:
                self.outcome.unmeasured.append(str(work.ref))
                logging.error("%s: no weight distances: %s", work.ref, reason_of(visit.error))
            return
        seconds = visit.fetching + visit.loading
        for item in visit.missing:
            began = time.perf_counter()
            self._beat.begin(item.label)
            try:
                assert visit.loaded is not None
                records = self.visitor.score(
                    visit.loaded,
                    item,
                    desc=f"[{work.number + 1}/{self._number}] {item.label}",
                    seconds=seconds,
                    stop=self._stop,
                    tell=self._beat.texts,
                )
            except Stopped:
                raise
            except Exception as error:
                if isinstance(error, InputError):
                    self.visitor.forget_partial(item)
                self._fail(item, visit.commit, error)
                continue
            with self._store_lock:
                for record in records:
                    self.store.add(record)
            self.visitor.forget_partial(item)
            self.outcome.scored.append(item.label)
            self._end(item, "scored", time.perf_counter() - began + seconds)
            seconds = 0.0  # fetching and loading count for the first of them

    # Parts of the stages

    def _begin(self, group: Group) -> None:
        """Claims a group, and finds out which of its checkpoints are wanted for distances."""
        if group.ours is not None:
            return
        group.ours = self._claims.take(group.label)
        if not group.ours or group.run is None or self._distances is None:
            return
        with self._distances_lock:
            self._distances.plan(group.run, group.steps)
            known = self._distances.known(group.run)
        # Where nothing was measured yet all are wanted, whatever they turn out to be.
        points = [
            Point(work.step, self._measurable(work) if known else "not looked up")
            for work in group.works
        ]
        first = sum(not work.items for work in group.works)
        with self._distances_lock:
            found = self._distances.missing(group.run, points, first)
        group.wanted = {points[i].step for i in found}

    def _measurable(self, work: Work) -> str | None:
        """The commit of a checkpoint; None for one that is not there, or known not to load."""
        try:
            commit = self._resolve(work).commit
        except Exception as error:
            work.group.resolved[work.ref] = error
            return None
        with self._store_lock:
            failed = {
                failure.item
                for failure in self.store.failures()
                if failure.kind == "input" and failure.commit == commit
            }
        return None if work.items and failed.issuperset(work.items) else commit

    def _resolve(self, work: Work) -> Resolved:
        known = work.group.resolved.pop(work.ref, None)
        if isinstance(known, Exception):
            raise known
        if known is not None:
            return known

        def seen(ref: Ref):
            with self._store_lock:
                return self.store.known_files(ref.name, ref.revision)

        found = resolve(work.ref, seen)
        work.group.resolved[work.ref] = found
        return found

    def _missing(self, work: Work, commit: str) -> list[Item]:
        with self._store_lock:
            return [item for item in work.items if not self.store.is_done(item, commit)]

    def _fetch(self, resolved: Resolved) -> CheckpointFiles:
        while True:
            self._budget.admit(resolved, self._halted)
            if self._halted():
                raise Stopped
            try:
                return fetch(resolved)
            except DiskFullError:
                # What is scored may go, where a budget was given; else this is the end.
                made = self._budget.make_all_room() or self._budget.wait(resolved, self._halted)
                if not made:
                    raise

    def _halted(self) -> bool:
        return self._closing or self._stop()

    def _pinned(self):
        return self._distances.pinned() if self._distances is not None else set()

    @contextlib.contextmanager
    def _measuring(self, visit: Visit) -> Iterator[weights.Take | None]:
        group = visit.work.group
        if not visit.measure or self._distances is None or group.run is None:
            yield None
            return
        assert visit.files is not None
        files = visit.files
        with (
            self._distances_lock,
            self._distances.visit(
                group.run, visit.work.step, files.commit, self.visitor.checkpoint(files)
            ) as take,
        ):
            yield take

    def _wait_for_room(self, files: CheckpointFiles) -> None:
        """Waits until the checkpoint that is being scored is gone, unless there is room for two:
        the new one fits in half of what is free."""
        if self._free.is_set():
            return
        stats = jax.local_devices()[0].memory_stats() or {}
        free = stats["bytes_limit"] - stats["bytes_in_use"] if stats else free_memory()
        if self.visitor.checkpoint(files).num_bytes > free / 2:
            self._free.wait()

    def _fail(self, item: Item, commit: str | None, error: Exception) -> None:
        failure = failure_of(item, commit, error)
        with self._store_lock:
            self.store.add_failure(failure)
        self.outcome.failed.append(failure)
        logging.error("%s: %s", item.label, failure.reason)
        self._end(item, "failed")

    def _end(
        self, item: Item, how: Literal["scored", "found", "failed"], seconds: float = 0.0
    ) -> None:
        self._settled.add(item)
        self._beat.end(item.label, how, seconds)

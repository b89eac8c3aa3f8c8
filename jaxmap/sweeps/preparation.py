"""The first stage of a sweep: claims a checkpoint, finds what is missing, fetches its files."""

from __future__ import annotations

import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Sequence

from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.cache import Budget
from jaxmap.checkpoint.sources.files import fetch, resolve
from jaxmap.checkpoint.sources.hub_client import DiskFullError
from jaxmap.checkpoint.sources.types import CheckpointFiles, Resolved
from jaxmap.engine.callbacks import Stopped
from jaxmap.store import Store
from jaxmap.store.claims import Claims
from jaxmap.store.requests import Item
from jaxmap.sweeps.stages import Busy, Failed, Prepared
from jaxmap.sweeps.tasks import Group, Task
from jaxmap.sweeps.weight_distance import Distances, Point
from jaxmap.variant import JAX


@dataclasses.dataclass
class _Claimed:
    """A group of tasks in this round.

    Fields:
      ours: whether this worker has claimed it.
      resolved: checkpoints that were resolved for distances and are not yet prepared.
      wanted: steps whose weights must be read for distances.
    """

    ours: bool
    resolved: dict[Ref, Resolved | Exception] = dataclasses.field(default_factory=dict)
    wanted: set[int] = dataclasses.field(default_factory=set)


class Preparer:
    """Prepares the tasks of one round; for one thread.

    Args:
      tasks: all tasks of the round.
      store: the store with the results so far.
      claims: this worker's claims.
      distances: measures weight distances; None: none are requested.
      budget: limits downloads.
      halted: whether to stop waiting.
      engine: what will score; with jax, an unknown model type is refused before a download.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        store: Store,
        claims: Claims,
        distances: Distances | None,
        budget: Budget,
        halted: Callable[[], bool],
        engine: str = JAX,
    ):
        self._tasks: dict[Group, list[Task]] = defaultdict(list)
        for task in tasks:
            self._tasks[task.group].append(task)
        self._store = store
        self._claims = claims
        self._distances = distances
        self._budget = budget
        self._halted = halted
        self._check = engine == JAX
        self._claimed: dict[Group, _Claimed] = {}

    def prepare(self, task: Task) -> Busy | Prepared | Failed:
        """Claims, resolves and fetches a checkpoint, unless all its results exist.

        Errors are returned, except those that end the run: Stopped, DiskFullError.
        """
        started = time.perf_counter()
        resolved: Resolved | None = None
        missing, measured = task.items, False
        try:
            if resolved := self._finished(task):
                return Prepared(task, resolved, (), False, None, time.perf_counter() - started)
            group = self._claim(task.group)
            if not group.ours:
                return Busy(task)
            resolved = self._resolve(task, group)
            missing = self._missing(task, resolved.commit)
            measured = task.group.run is not None and task.step in group.wanted
            files = self._fetch(resolved) if missing or measured else None
        except (Stopped, DiskFullError):
            raise
        except Exception as error:
            return Failed(task, resolved, missing, measured, error)
        seconds = time.perf_counter() - started
        return Prepared(task, resolved, missing, measured, files, seconds)

    def _claim(self, group: Group) -> _Claimed:
        """Claims a group, and finds which of its checkpoints are needed for distances."""
        known = self._claimed.get(group)
        if known is not None:
            return known
        claimed = self._claimed[group] = _Claimed(self._claims.take(group.label))
        if not claimed.ours or group.run is None or self._distances is None:
            return claimed
        self._distances.plan(group.run, group.steps)
        # If nothing was measured yet, all are needed, and none has to be resolved first.
        any_known = self._distances.known(group.run)
        tasks = self._tasks[group]
        points = [
            Point(task.step, self._commit(task, claimed) if any_known else "not looked up")
            for task in tasks
        ]
        first = sum(not task.items for task in tasks)
        found = self._distances.missing(group.run, points, first)
        claimed.wanted = {points[i].step for i in found}
        return claimed

    def _commit(self, task: Task, group: _Claimed) -> str | None:
        """The commit of a checkpoint; None if it does not exist or is known not to load."""
        try:
            commit = self._resolve(task, group).commit
        except Exception as error:
            group.resolved[task.ref] = error
            return None
        failed = {
            failure.item
            for failure in self._store.failures()
            if failure.kind == "input" and failure.commit == commit
        }
        return None if task.items and failed.issuperset(task.items) else commit

    def _resolve(self, task: Task, group: _Claimed) -> Resolved:
        known = group.resolved.pop(task.ref, None)
        if isinstance(known, Exception):
            raise known
        if known is not None:
            return known
        found = resolve(task.ref, lambda ref: self._store.known_files(ref.name, ref.revision))
        group.resolved[task.ref] = found
        return found

    def _missing(self, task: Task, commit: str) -> tuple[Item, ...]:
        done = self._store.is_done
        return tuple(item for item in task.items if not done(item, commit, "server"))

    def _finished(self, task: Task) -> Resolved | None:
        """The checkpoint, if all its results were in the store at the last listing.

        Such a one needs no claim: of a thousand workers that share a long list each would otherwise
        claim what all others have done.
        """
        done = self._store.is_done
        if self._distances is not None or not all(done(one, None, "last") for one in task.items):
            return None
        resolved = self._resolve(task, _Claimed(False))
        return resolved if all(done(one, resolved.commit, "last") for one in task.items) else None

    def _fetch(self, resolved: Resolved) -> CheckpointFiles:
        while True:
            self._budget.admit(resolved, self._halted)
            if self._halted():
                raise Stopped
            try:
                return fetch(resolved, check=self._check)
            except DiskFullError:
                # With a budget, scored weights can be deleted; otherwise the error ends the run.
                made = self._budget.make_all_room() or self._budget.wait(resolved, self._halted)
                if not made:
                    raise

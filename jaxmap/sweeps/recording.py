"""The last stage of a sweep: scores loaded checkpoints and stores the records or failures."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Literal

from absl import logging

from jaxmap.engine.callbacks import Stopped
from jaxmap.errors import InputError, without_name
from jaxmap.store import Store
from jaxmap.store.heartbeat import Heartbeat
from jaxmap.store.requests import Item
from jaxmap.sweeps.checkpoint_scorer import CheckpointScorer
from jaxmap.sweeps.outcome import Outcome, failure_of, reason_of
from jaxmap.sweeps.stages import Failed, Loaded


class Recorder:
    """Scores checkpoints into a store; for one thread.

    Args:
      scorer: scores a checkpoint.
      store: the store for results and failures.
      heartbeat: reports the progress.
      checkpoints: the number of checkpoints, for the progress bar.
      stop: called before every batch; true means that the run should stop.
    """

    def __init__(
        self,
        scorer: CheckpointScorer,
        store: Store,
        heartbeat: Heartbeat,
        checkpoints: int,
        stop: Callable[[], bool],
    ):
        self._scorer = scorer
        self._store = store
        self._heartbeat = heartbeat
        self._checkpoints = checkpoints
        self._stop = stop
        self._outcome = Outcome()
        self._settled: set[Item] = set()

    def outcome(self, total: int) -> Outcome:
        """The outcome of the run, which had `total` items."""
        stopped = self._stop() and len(self._settled) < total
        return dataclasses.replace(self._outcome, stopped=stopped)

    def finish(self, stage: Loaded | Failed) -> None:
        """Scores the missing items of a checkpoint, or stores the failure; raises Stopped."""
        missing = stage.missing if isinstance(stage, Failed) else stage.prepared.missing
        commit = stage.commit if isinstance(stage, Failed) else stage.resolved.commit
        for item in stage.task.items:
            if item not in missing:
                self._store.settle(item, commit)
                self._scorer.forget_partial(item)
                self._outcome.found.append(item.label)
                self._end(item, "found")
        if isinstance(stage, Failed):
            self._fail_all(stage)
        else:
            self._score_all(stage)

    def _fail_all(self, stage: Failed) -> None:
        for item in stage.missing:
            self._fail(item, stage.commit, stage.error)
        if stage.measured and not stage.missing:
            ref = stage.task.ref
            self._outcome.unmeasured.append(str(ref))
            reason = without_name(reason_of(stage.error), str(ref), ref.name)
            logging.error("%s: no weight distances: %s", ref, reason)

    def _score_all(self, stage: Loaded) -> None:
        seconds = stage.prepared.seconds + stage.seconds
        for item in stage.prepared.missing:
            began = time.perf_counter()
            self._heartbeat.begin(item.label)
            try:
                assert stage.checkpoint is not None
                records = self._scorer.score(
                    stage.checkpoint,
                    item,
                    desc=f"[{stage.task.number + 1}/{self._checkpoints}] {item.label}",
                    seconds=seconds,
                    stop=self._stop,
                    progress=self._heartbeat.texts,
                )
            except Stopped:
                raise
            except Exception as error:
                if isinstance(error, InputError):
                    self._scorer.forget_partial(item)
                self._fail(item, stage.resolved.commit, error)
                continue
            for record in records:
                self._store.add(record)
            self._scorer.forget_partial(item)
            self._outcome.scored.append(item.label)
            self._end(item, "scored", time.perf_counter() - began + seconds)
            seconds = 0.0  # the time of fetching and loading counts for the first item

    def _fail(self, item: Item, commit: str | None, error: Exception) -> None:
        failure = failure_of(item, commit, error)
        self._store.add_failure(failure)
        self._outcome.failed.append(failure)
        logging.error("%s: %s", item.label, failure.reason)
        self._end(item, "failed")

    def _end(
        self, item: Item, how: Literal["scored", "found", "failed"], seconds: float = 0.0
    ) -> None:
        self._settled.add(item)
        self._heartbeat.end(item.label, how, seconds)

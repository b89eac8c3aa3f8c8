"""The second stage of a sweep: loads a checkpoint and measures its weight distances meanwhile."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import jax

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.formats import num_bytes
from jaxmap.checkpoint.sources.types import CheckpointFiles
from jaxmap.sweeps.checkpoint_scorer import CheckpointScorer
from jaxmap.sweeps.limits import Limits
from jaxmap.sweeps.loaded_checkpoint import LoadedCheckpoint
from jaxmap.sweeps.prefetch import Stopwatch
from jaxmap.sweeps.stages import Busy, Failed, Loaded, Prepared
from jaxmap.sweeps.weight_distance import Distances


class Loader:
    """Loads the checkpoints of one round, one at a time, from any thread.

    Args:
      scorer: loads a checkpoint.
      distances: measures weight distances; None: none are requested.
      limits: the limits of the sweep.
    """

    def __init__(self, scorer: CheckpointScorer, distances: Distances | None, limits: Limits):
        self._scorer = scorer
        self._distances = distances
        self._limits = limits
        self._free = threading.Event()  # no checkpoint is in memory
        self._free.set()

    def load(self, stage: Busy | Prepared | Failed) -> Busy | Loaded | Failed:
        """Loads a checkpoint for scoring and measures its distances; errors are returned."""
        if not isinstance(stage, Prepared):
            return stage
        if stage.files is None:
            return Loaded(stage, None)
        checkpoint: LoadedCheckpoint | None = None
        try:
            self._wait_for_room(stage.files)
            watch = Stopwatch()
            with self._measuring(stage, stage.files) as take:
                if stage.missing:
                    checkpoint = self._scorer.load(stage.files, take, stage.missing)
                    self._free.clear()
                elif take is not None:
                    for key, stored in weights.read(self._scorer.checkpoint(stage.files)):
                        take(key, stored)
        except Exception as error:
            return Failed(stage.task, stage.resolved, stage.missing, stage.measured, error)
        return Loaded(stage, checkpoint, watch.wall, watch.idle)

    def release(self) -> None:
        """Reports that the last loaded checkpoint is scored and no longer in memory."""
        self._free.set()

    @contextlib.contextmanager
    def _measuring(self, stage: Prepared, files: CheckpointFiles) -> Iterator[weights.Take | None]:
        group = stage.task.group
        if not stage.measured or self._distances is None or group.run is None:
            yield None
            return
        step, checkpoint = stage.task.step, self._scorer.checkpoint(files)
        with self._distances.measuring(group.run, step, files.commit, checkpoint) as take:
            yield take

    def _wait_for_room(self, files: CheckpointFiles) -> None:
        """Waits until the present checkpoint is no longer in memory, if memory does not suffice for
        two.

        It suffices if the new one needs at most half of the free memory.
        """
        if self._free.is_set():
            return
        stats = jax.local_devices()[0].memory_stats() or {}
        free = self._limits.free_memory()
        if stats:
            free = stats["bytes_limit"] - stats["bytes_in_use"]
        if num_bytes(files.folder) > free / 2:
            self._free.wait()

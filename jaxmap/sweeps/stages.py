"""What each stage of a sweep makes of a task: prepared, then loaded, or failed on the way."""

from __future__ import annotations

import dataclasses

from jaxmap.checkpoint.sources.types import CheckpointFiles, Resolved
from jaxmap.store.requests import Item
from jaxmap.sweeps.loaded_checkpoint import LoadedCheckpoint
from jaxmap.sweeps.tasks import Task


@dataclasses.dataclass(frozen=True)
class Busy:
    """Another worker is at the group of this task."""

    task: Task


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A checkpoint of which is known what the store lacks, and whose files are here.

    Fields:
      task: the task.
      resolved: where the checkpoint is, and its commit.
      missing: the items that are not done.
      measured: whether its weights are to be read for distances.
      files: on this machine's disk; None where nothing has to be loaded.
      seconds: that this took.
    """

    task: Task
    resolved: Resolved
    missing: tuple[Item, ...]
    measured: bool
    files: CheckpointFiles | None
    seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """A checkpoint in memory, its distances measured.

    Fields:
      prepared: what came before.
      checkpoint: the model; None where nothing is to be scored.
      seconds: that loading took.
      idle: of these, seconds in which the processor waited, as for a disk.
    """

    prepared: Prepared
    checkpoint: LoadedCheckpoint | None
    seconds: float = 0.0
    idle: float = 0.0

    @property
    def task(self) -> Task:
        return self.prepared.task

    @property
    def resolved(self) -> Resolved:
        return self.prepared.resolved


@dataclasses.dataclass(frozen=True, eq=False)
class Failed:
    """A task that did not get as far as scoring.

    Fields:
      task, missing, measured: as in `Prepared`; all items are missing where it is not known.
      resolved: None where the checkpoint was not found.
      error: what went wrong.
    """

    task: Task
    resolved: Resolved | None
    missing: tuple[Item, ...]
    measured: bool
    error: Exception

    @property
    def commit(self) -> str | None:
        """The checkpoint's, where it was found."""
        return None if self.resolved is None else self.resolved.commit

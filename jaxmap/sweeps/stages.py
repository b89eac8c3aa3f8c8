"""The results of the stages of a sweep for a task: prepared, then loaded, or failed."""

from __future__ import annotations

import dataclasses

from jaxmap.checkpoint.sources.types import CheckpointFiles, Resolved
from jaxmap.store.requests import Item
from jaxmap.sweeps.loaded_checkpoint import LoadedCheckpoint
from jaxmap.sweeps.tasks import Task


@dataclasses.dataclass(frozen=True)
class Busy:
    """A task whose group another worker has claimed."""

    task: Task


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A checkpoint whose missing items are known and whose files are on disk.

    Fields:
      task: the task.
      resolved: the source and commit of the checkpoint.
      missing: the items that are not done.
      measured: whether its weights must be read for distances.
      files: the files on disk; None if nothing has to be loaded.
      seconds: the time of preparation.
    """

    task: Task
    resolved: Resolved
    missing: tuple[Item, ...]
    measured: bool
    files: CheckpointFiles | None
    seconds: float


@dataclasses.dataclass(frozen=True, eq=False)
class Loaded:
    """A checkpoint in memory, whose weight distances are measured.

    Fields:
      prepared: the result of the first stage.
      checkpoint: the model; None if nothing is to be scored.
      seconds: the time of loading.
      idle: the part of it in which the processor waited, as for a disk.
    """

    prepared: Prepared
    checkpoint: LoadedCheckpoint | None
    seconds: float = 0.0
    idle: float = 0.0

    @property
    def task(self) -> Task:
        """The task of the checkpoint."""
        return self.prepared.task

    @property
    def resolved(self) -> Resolved:
        """The checkpoint's commit and files."""
        return self.prepared.resolved


@dataclasses.dataclass(frozen=True, eq=False)
class Failed:
    """A task that failed before scoring.

    Fields:
      task, missing, measured: see `Prepared`; all items count as missing if that is unknown.
      resolved: None if the checkpoint was not found.
      error: the error.
    """

    task: Task
    resolved: Resolved | None
    missing: tuple[Item, ...]
    measured: bool
    error: Exception

    @property
    def commit(self) -> str | None:
        """The checkpoint's commit, if it was found."""
        return None if self.resolved is None else self.resolved.commit

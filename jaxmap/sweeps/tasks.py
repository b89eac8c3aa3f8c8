"""The tasks of a sweep: checkpoints with their items, in groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from jaxmap.checkpoint.refs import Ref
from jaxmap.errors import InputError
from jaxmap.naming import GRAMMAR, Name, Names
from jaxmap.store.requests import Item


@dataclasses.dataclass(frozen=True)
class Group:
    """Checkpoints that one worker scores one after another.

    Fields:
      label: its name among the claims of workers.
      run: the training run whose weight distances are requested; None for a single checkpoint.
      steps: all requested steps of that run, of all workers.
    """

    label: str
    run: str | None = None
    steps: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Task:
    """A checkpoint and its items.

    Fields:
      ref: the checkpoint.
      items: the items; if empty, it is only needed for the distances of later checkpoints.
      group: the group to which it belongs.
      number: its index among the tasks of this worker.
      time: its step in the run of the group, or its tokens if names have no steps; None if it is
        not a checkpoint of a run.
    """

    ref: Ref
    items: tuple[Item, ...]
    group: Group
    number: int
    time: int | None = None

    @property
    def step(self) -> int:
        """`time`, for a task whose group has a run."""
        assert self.time is not None
        return self.time


def requested_distances(
    refs: Sequence[Ref], window: int, given: Names = GRAMMAR
) -> dict[str, tuple[int, ...]]:
    """The steps of each run whose weight distances are requested, of all workers.

    The arguments are those of `plan_tasks`. It is known before the first checkpoint is read, so
    that the number of requested distances does not grow during a sweep.
    """
    steps = _steps_of_runs(refs, [given.parse(ref.name, ref.revision) for ref in refs], window)
    return {run: tuple(sorted(found)) for run, found in steps.items() if len(found) > 1}


def plan_tasks(
    refs: Sequence[Ref],
    mine: range,
    items_of: Callable[[Ref], list[Item]],
    window: int,
    given: Names = GRAMMAR,
) -> list[Task]:
    """The tasks of a worker, in order.

    Args:
      refs: all checkpoints, in order.
      mine: the range of this worker's checkpoints.
      items_of: returns the items of a checkpoint.
      window: the number of earlier checkpoints for weight distances; 0: no distances.
      given: the parser of names, with the given facts about runs.
    """
    names = [given.parse(ref.name, ref.revision) for ref in refs]
    runs = [_run_of(name, window) for name in names]
    steps = _steps_of_runs(refs, names, window)
    groups: dict[str, Group] = {}
    tasks: list[Task] = []
    for place in mine:
        ref, run = refs[place], runs[place]
        if run is None or len(steps[run]) < 2:
            group = Group(str(ref))
        elif run not in groups:
            own = [p for p in steps[run].values() if p in mine]
            group = Group(f"{run} {own[0]}-{own[-1]}", run, tuple(steps[run]))
            groups[run] = group
            # Checkpoints of other workers to which the distances of ours are measured.
            before = [p for p in steps[run].values() if p < own[0]][-window:]
            for p in before:
                tasks.append(Task(refs[p], (), group, 0, names[p].time))
        else:
            group = groups[run]
        tasks.append(Task(ref, tuple(items_of(ref)), group, len(tasks), names[place].time))
    return tasks


def _run_of(name: Name, window: int) -> str | None:
    """The run of a checkpoint, if distances to `window` earlier ones are requested."""
    return name.run_name if window and name.time is not None else None


def _steps_of_runs(
    refs: Sequence[Ref], names: Sequence[Name], window: int
) -> dict[str, dict[int, int]]:
    """From a run to its steps, and from each step to the index of its checkpoint in `refs`.

    Raises InputError for two checkpoints of one step.
    """
    steps: dict[str, dict[int, int]] = {}
    for place, name in enumerate(names):
        run = _run_of(name, window)
        if run is None or name.time is None:
            continue
        other = steps.setdefault(run, {}).setdefault(name.time, place)
        if other != place:
            raise InputError(
                f"{refs[other]} and {refs[place]} are both {name.unit} {name.time} of the run "
                f"{run}; distances need exactly one: remove the other",
                field="weight_distance",
            )
    return steps

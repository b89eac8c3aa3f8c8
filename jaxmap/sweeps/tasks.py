"""What a sweep consists of: checkpoints with what is asked of them, in groups."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from jaxmap.checkpoint.refs import Ref
from jaxmap.errors import InputError
from jaxmap.naming import GRAMMAR, Names
from jaxmap.store.requests import Item


@dataclasses.dataclass(frozen=True)
class Group:
    """Checkpoints that one worker does, one after another.

    Fields:
      label: its name among the claims of workers.
      run: the training run whose weight distances are wanted; None: it is a single checkpoint.
      steps: all of that run's that are asked for, by every worker.
    """

    label: str
    run: str | None = None
    steps: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Task:
    """A checkpoint and what is asked of it.

    Fields:
      ref: the checkpoint.
      items: what is asked; none: only the distances of later checkpoints to it.
      group: with which others it is done.
      number: its place among the tasks of this worker, from 0.
      time: its place in the run of the group: a step, or tokens where names tell no steps; None
        where it is no checkpoint of a run.
    """

    ref: Ref
    items: tuple[Item, ...]
    group: Group
    number: int
    time: int | None = None

    @property
    def step(self) -> int:
        """`time`, of a task whose group has a run."""
        assert self.time is not None
        return self.time


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
      mine: the places of this worker's.
      items_of: what is asked of a checkpoint.
      window: weight distances look back over so many of a run; 0: none are wanted.
      given: reads names, with what was given of runs.
    """
    names = [given.parse(ref.name, ref.revision) for ref in refs]
    runs = [name.run_name if window and name.time is not None else None for name in names]
    steps: dict[str, dict[int, int]] = {}  # run -> step -> place; one checkpoint a step
    for place, (name, run) in enumerate(zip(names, runs, strict=True)):
        if run is None or name.time is None:
            continue
        other = steps.setdefault(run, {}).setdefault(name.time, place)
        if other != place:
            raise InputError(
                f"{refs[other]} and {refs[place]} are both {name.unit} {name.time} of the run "
                f"{run}; distances need one of them: leave out the other",
                field="weight_distance",
            )
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
            # Of the run's checkpoints that are other workers', those that ours are measured to.
            before = [p for p in steps[run].values() if p < own[0]][-window:]
            for p in before:
                tasks.append(Task(refs[p], (), group, 0, names[p].time))
        else:
            group = groups[run]
        tasks.append(Task(ref, tuple(items_of(ref)), group, len(tasks), names[place].time))
    return tasks

"""What a sweep consists of: groups of checkpoints, their visits, and what comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Literal

from absl import logging

from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.types import CheckpointFiles, Resolved
from jaxmap.environment import versions
from jaxmap.errors import InputError, JaxmapError
from jaxmap.naming import parse
from jaxmap.store.requests import Failure, Item
from jaxmap.sweeps.checkpoint_scorer import Loaded

Ending = Literal["done", "stopped", "bad input", "failure"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run did: labels of items scored now, found finished, and failed with their reasons.

    `follows`: this process only helped the one that led, which ends so.
    `unmeasured` names checkpoints whose weight distances could not be taken although their scores
    are done; `stopped` says that the run was told to end before all was done.
    """

    scored: list[str] = dataclasses.field(default_factory=list)
    found: list[str] = dataclasses.field(default_factory=list)
    failed: list[Failure] = dataclasses.field(default_factory=list)
    unmeasured: list[str] = dataclasses.field(default_factory=list)
    stopped: bool = False
    follows: Ending | None = None

    @property
    def ending(self) -> Ending:
        """Whether all is done; else whether the run was told to stop before, only bad input stood
        in the way, or something failed."""
        if self.follows is not None:
            return self.follows
        if self.stopped:
            return "stopped"
        if not (self.failed or self.unmeasured):
            return "done"
        only_input = not self.unmeasured and all(f.kind == "input" for f in self.failed)
        return "bad input" if only_input else "failure"


@dataclasses.dataclass
class Group:
    """Checkpoints that one worker does, one after another: a part of a run whose weight distances
    are wanted, else a single one."""

    label: str
    run: str | None = None  # whose weight distances are wanted
    steps: tuple[int, ...] = ()  # all of that run's, of every worker
    works: list[Work] = dataclasses.field(default_factory=list)
    # As of `Sweep._begin`:
    ours: bool | None = None
    left: int = 0
    resolved: dict[Ref, Resolved | Exception] = dataclasses.field(default_factory=dict)
    wanted: set[int] = dataclasses.field(default_factory=set)  # steps to be read for distances


@dataclasses.dataclass(eq=False)
class Work:
    """A checkpoint and what is asked of it; no items: only its neighbours' distances."""

    ref: Ref
    items: list[Item]
    group: Group
    number: int

    @property
    def step(self) -> int:
        """Its place in the run of the group: a step, or tokens where names tell no steps."""
        time = parse(self.ref.name, self.ref.revision).time
        assert time is not None  # or the group had no run
        return time


@dataclasses.dataclass(eq=False)
class Visit:
    """A checkpoint on its way through the pipeline."""

    work: Work
    state: Literal["ready", "found", "busy", "failed"] = "ready"
    error: Exception | None = None
    resolved: Resolved | None = None
    files: CheckpointFiles | None = None
    missing: list[Item] = dataclasses.field(default_factory=list)
    measure: bool = False
    loaded: Loaded | None = None
    fetching: float = 0.0  # seconds
    loading: float = 0.0
    idle: float = 0.0  # of these, in which the processor waited; known when not loaded ahead

    @property
    def commit(self) -> str | None:
        return None if self.resolved is None else self.resolved.commit


def plan_works(
    refs: Sequence[Ref],
    mine: range,
    items_of: Callable[[Ref], list[Item]],
    window: int,
) -> list[Work]:
    """The visits of a worker, in order.

    Args:
      refs: all checkpoints, in order.
      mine: the places of this worker's.
      items_of: what is asked of a checkpoint.
      window: weight distances look back over so many of a run; 0: none are wanted.
    """
    names = [parse(ref.name, ref.revision) for ref in refs]
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
    works: list[Work] = []
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
                works.append(Work(refs[p], [], group, 0))
        else:
            group = groups[run]
        works.append(Work(ref, items_of(ref), group, len(works)))
    for work in works:
        work.group.works.append(work)
    return works


def failure_of(item: Item, commit: str | None, error: Exception) -> Failure:
    kind: Literal["input", "failure"] = "input" if isinstance(error, InputError) else "failure"
    if not isinstance(error, JaxmapError):
        logging.debug("%s", item.label, exc_info=error)
    return Failure(item, reason_of(error), kind, commit=commit, versions=versions())


def reason_of(error: Exception) -> str:
    """One line."""
    if isinstance(error, JaxmapError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"

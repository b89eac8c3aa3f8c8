"""Which run goes on from which: stage 2 from stage 1, a branch from the run that it leaves."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jaxmap.analysis.runs import Run
from jaxmap.errors import InputError
from jaxmap.naming import Names, RunFacts

_NUMBERED = re.compile(r"(stage|phase)-?(\d{1,3})(?![0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class Origin:
    """Where a run begins: a place in the list of runs, and the step of that run at which this one
    leaves it; None: its last."""

    parent: int
    at: int | None = None


def facts_of(run: Run, names: Names) -> RunFacts:
    """What was given of a run by hand."""
    entry = next(entry for entry in run.entries if entry is not None)
    return names.facts(entry.identity.ref, entry.identity.revision)


def origins_of(runs: Sequence[Run], names: Names) -> list[Origin | None]:
    """The origin of each run; None of one that begins by itself.

    It is what was given (`continues`), else a name tells it: stage N goes on from the only run
    that is stage N - 1 of the same model and seed; likewise phase N. InputError for a run that
    goes on from one that is not there, or in a circle from itself.
    """
    found = [_origin(place, runs, facts_of(run, names)) for place, run in enumerate(runs)]
    for place in range(len(runs)):
        seen, here = {place}, found[place]
        while here is not None:
            if here.parent in seen:
                raise InputError(f"runs: {runs[place].full_name}: goes on from itself in a circle")
            seen.add(here.parent)
            here = found[here.parent]
    return found


def _origin(place: int, runs: Sequence[Run], given: RunFacts) -> Origin | None:
    run = runs[place]
    if given.continues is not None:
        parents = [
            i
            for i, other in enumerate(runs)
            if given.continues in (other.full_name, other.name)
            or (_model(other) == _model(run) and other.facts.run == given.continues)
        ]
        if len(parents) != 1:
            there = ", ".join(repr(one.facts.run) for one in runs if _model(one) == _model(run))
            raise InputError(
                f"runs: {run.full_name}: continues {given.continues!r}: the store holds "
                f"{len(parents)} such runs of this model, not one; it has {there}"
            )
        return Origin(parents[0], given.at)
    number = _NUMBERED.match(run.facts.stage)
    if number is None:
        return None
    before = [
        i
        for i, other in enumerate(runs)
        if _model(other) == _model(run)
        and other.facts.seed == run.facts.seed
        and (one := _NUMBERED.match(other.facts.stage))
        and (one[1].lower(), int(one[2])) == (number[1].lower(), int(number[2]) - 1)
    ]
    return Origin(before[0], given.at) if len(before) == 1 else None


def _model(run: Run) -> tuple[str, str]:
    return run.facts.organisation, run.facts.model

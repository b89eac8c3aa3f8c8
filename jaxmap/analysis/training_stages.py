"""Finds which run continues which: stage 2 continues stage 1, a branch the run it starts from."""

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
    """The start of a run: the index of the run that it continues, and the step of that run.

    `at` is None for the last step.
    """

    parent: int
    at: int | None = None


def facts_of(run: Run, names: Names) -> RunFacts:
    """The facts that the user gave about a run."""
    entry = next(entry for entry in run.entries if entry is not None)
    return names.facts(entry.identity.ref, entry.identity.revision)


def origins_of(runs: Sequence[Run], names: Names) -> list[Origin | None]:
    """The origin of each run; None for a run that does not continue another.

    It is given (`continues`), or follows from the names: stage N continues the only run that is
    stage N - 1 of the same model and seed; likewise phase N. Raises InputError for a run that
    continues a missing run, or itself in a circle.
    """
    found = [_origin(place, runs, facts_of(run, names)) for place, run in enumerate(runs)]
    for place in range(len(runs)):
        seen, here = {place}, found[place]
        while here is not None:
            if here.parent in seen:
                raise InputError(f"runs: {runs[place].full_name}: continues itself in a circle")
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

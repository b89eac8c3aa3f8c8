"""The axis that runs are measured and drawn along: training steps or tokens, stages joined.

A run that continues another (see `stages`) begins at a checkpoint of the other. If stages are
joined, its steps and tokens are counted from the start of the first run: those of the earlier run
up to this checkpoint are added. The only run that continues another from its end becomes one line
with it; if there are several, each is a branch, a line that begins at the common checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from jaxmap.analysis.notes import Note
from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.pythia import STAGES, TIMES
from jaxmap.analysis.runs import Run
from jaxmap.analysis.training_stages import Origin, facts_of, origins_of
from jaxmap.errors import InputError
from jaxmap.naming import Names, RunFacts


@dataclass(frozen=True)
class _Line:
    """A run whose times are being computed.

    Fields:
      run: the run.
      rows: see `Pretraining`.
      step_I, token_I: steps and tokens, float64 [I]; NaN if unknown.
    """

    run: Run
    rows: np.ndarray
    step_I: np.ndarray
    token_I: np.ndarray

    def knows(self, unit: str) -> bool:
        there_I = np.array([entry is not None for entry in self.run.entries])
        time_I = self.step_I if unit == "step" else self.token_I
        return bool(there_I.any() and np.isfinite(time_I[there_I]).all())


def on_timeline(
    pre: Pretraining, names: Names, time: str = "auto", stages: str = "apart"
) -> tuple[Pretraining, tuple[Note, ...]]:
    """The runs with the times that analyses and figures use, and notes about them.

    Args:
      pre: the cleaned runs of a store.
      names: the parser of names, with the given facts about runs.
      time: "steps"; "tokens", from the given tokens per step or from names; "auto": steps, or
        tokens if some names have tokens only and all runs have tokens.
      stages: "apart" or "joined".

    Runs without the requested times are left out, with a note. Raises InputError if no run has
    them.
    """
    for field, value, known in (("time", time, TIMES), ("stages", stages, STAGES)):
        if value not in known:
            raise InputError(f"{value!r} is unknown; known: {', '.join(known)}", field=field)
    given = [facts_of(run, names) for run in pre.runs]
    lines = [
        _line(run, rows, facts) for run, rows, facts in zip(pre.runs, pre.rows, given, strict=True)
    ]
    notes: list[Note] = []
    if stages == "joined":
        lines, notes = _joined(lines, given, origins_of(pre.runs, names))
    if time == "auto":
        all_steps = all(line.knows("step") for line in lines)
        time = "steps" if all_steps or not all(line.knows("token") for line in lines) else "tokens"
    unit = time.removesuffix("s")
    told = [line for line in lines if line.knows(unit)]
    for line in lines:
        if not line.knows(unit):
            notes.append(Note("time", f"{line.run.full_name} is left out: {_why(unit)}"))
    if not told:
        raise InputError(f"no run of the store gives its {unit}s: {_why(unit)}", field="time")
    kept = [_timed(line, unit) for line in told]
    runs = tuple(run for run, _ in kept)
    return replace(pre, runs=runs, rows=tuple(rows for _, rows in kept)), tuple(notes)


def _why(unit: str) -> str:
    if unit == "step":
        return "its names give tokens alone; use `time=tokens`"
    return "its names give no tokens; give its `tokens_per_step` in a runs file (docs/runs.md)"


def _line(run: Run, rows: np.ndarray, given: RunFacts) -> _Line:
    times = np.asarray(run.steps, np.float64)
    per_step, before = given.tokens_per_step, given.tokens_before or 0
    named = [entry.name.tokens if entry is not None else None for entry in run.entries]
    token_I = np.array([np.nan if one is None else one for one in named], np.float64)
    if run.named_unit == "token":
        token_I = times
        step_I = times / per_step if per_step else np.full(len(times), np.nan)
    else:
        step_I = times
        if per_step:
            token_I = times * per_step
    known = np.isfinite(token_I)
    if known.any() and not known.all():  # of gaps, which have no name here
        at = np.array([entry is None for entry in run.entries])
        token_I[at] = np.interp(times[at], times[known], token_I[known])
    return _Line(run, rows, step_I + (given.steps_before or 0), token_I + before)


def _joined(
    lines: Sequence[_Line], given: Sequence[RunFacts], origins: Sequence[Origin | None]
) -> tuple[list[_Line], list[Note]]:
    """Counts each run from the start of the first, and joins it to the run that it continues.

    The lines are in the order of the runs.
    """
    done: dict[int, _Line] = {}  # complete lines, by their first run or branch
    moved: dict[int, _Line] = {}  # each run by itself, on the common axis
    ends_in: dict[int, int] = {}  # run -> the line that it is a part of
    notes: list[Note] = []
    order = sorted(range(len(lines)), key=lambda i: _depth(i, origins))
    for place in order:
        line, origin = lines[place], origins[place]
        if origin is None:
            done[place] = moved[place] = line
            ends_in[place] = place
            continue
        parent, own_parent = moved[origin.parent], lines[origin.parent]
        own_steps = own_parent.run.steps
        at = int(own_steps[-1]) if origin.at is None else origin.at
        moved[place] = line = _moved(line, given[place], at, _shift(own_parent, parent, at))
        last = int(own_steps[-1])
        at_its_end = [
            i
            for i, one in enumerate(origins)
            if one and one.parent == origin.parent and (one.at is None or one.at >= last)
        ]
        there = np.flatnonzero((own_parent.rows >= 0) & (own_steps <= at))
        if at_its_end == [place]:
            start = ends_in[origin.parent]
            done[start] = _behind(done[start], line)
            ends_in[place] = start
        else:
            leaves = slice(there[-1], there[-1] + 1) if len(there) else slice(0, 0)
            done[place] = _behind(_part(parent, leaves), line, branch=True)
            ends_in[place] = place
            if not len(there):
                why = f"the store holds no checkpoint of {own_parent.run.full_name} up to {at}"
                notes.append(Note("stages", f"{line.run.full_name} begins by itself: {why}"))
    return [done[place] for place in sorted(done)], notes


def _depth(place: int, origins: Sequence[Origin | None]) -> int:
    depth, origin = 0, origins[place]
    while origin is not None:
        depth, origin = depth + 1, origins[origin.parent]
    return depth


def _shift(own: _Line, moved: _Line, at: int) -> tuple[float, float]:
    """The steps and tokens from the start of the first run to step `at` of a later one."""
    shifts = []
    for own_I, moved_I in ((own.step_I, moved.step_I), (own.token_I, moved.token_I)):
        known = np.flatnonzero(np.isfinite(moved_I))
        if not len(known):
            shifts.append(np.nan)
            continue
        places = own.run.steps[known].astype(np.float64)
        value = float(np.interp(at, places, moved_I[known]))
        if (
            at > places[-1] and len(known) > 1
        ):  # beyond its checkpoints: extrapolated at their last rate
            i, j = known[[-2, -1]]
            value += float((at - places[-1]) * (own_I[j] - own_I[i]) / np.diff(places)[-1])
        shifts.append(value)
    return shifts[0], shifts[1]


def _moved(line: _Line, given: RunFacts, at: int, before: tuple[float, float]) -> _Line:
    """A run that continues another at step `at`, counted from the start of the first run.

    `before` has the steps and tokens up to there. If the names count from the first run already,
    because they begin at `at` or later, nothing is added.
    """
    steps, tokens = before
    step_I, token_I = line.step_I, line.token_I
    own = line.run.steps
    counts_on = line.run.named_unit == "step" and len(own) > 0 and int(own[0]) >= at > 0
    if given.steps_before is not None:
        counts_on = False  # already added
    elif not counts_on:
        step_I = step_I + steps
    else:
        step_I = step_I + (steps - at)
    if given.tokens_before is None:
        if counts_on and given.tokens_per_step:
            token_I = tokens + (own - at) * given.tokens_per_step
        elif not (np.isfinite(token_I).any() and np.nanmin(token_I) >= tokens > 0):
            token_I = token_I + tokens
    return replace(line, step_I=step_I, token_I=token_I)


def _part(line: _Line, part: slice) -> _Line:
    run = replace(
        line.run, entries=line.run.entries[part], steps=line.run.steps[part],
        named_places=line.run.origins[part],
    )  # fmt: skip
    return replace(
        line, run=run, rows=line.rows[part], step_I=line.step_I[part], token_I=line.token_I[part]
    )


def _behind(first: _Line, second: _Line, branch: bool = False) -> _Line:
    """Joins two lines; a checkpoint of the second at the end of the first is left out."""
    known = np.isfinite(first.step_I).all() and np.isfinite(second.step_I).all()
    times = [one.step_I if known else one.token_I for one in (first, second)]
    if all(map(len, times)) and times[1][0] <= times[0][-1]:
        second = _part(second, slice(1, None))
    a, b = first.run, second.run
    if branch:
        name, facts, full_name, warmup = b.name, b.facts, b.full_name, 0
    else:
        stage = "+" + (b.facts.run or b.name)
        name, facts, full_name, warmup = a.name + stage, a.facts, a.full_name + stage, a.warmup
    run = Run(
        name,
        full_name,
        facts,
        (*a.entries, *b.entries),
        np.concatenate([a.steps, b.steps]),
        warmup=warmup,
        named_places=(*a.origins, *b.origins),
    )
    return _Line(
        run,
        np.concatenate([first.rows, second.rows]),
        np.concatenate([first.step_I, second.step_I]),
        np.concatenate([first.token_I, second.token_I]),
    )


def _warmup(line: _Line, step_I: np.ndarray) -> int:
    """The warmup of a line in steps, if they are known."""
    if line.run.named_unit == "step" or not np.isfinite(step_I).all():
        return line.run.warmup
    return round(float(np.interp(line.run.warmup, line.run.steps, line.step_I)))


def _timed(line: _Line, unit: str) -> tuple[Run, np.ndarray]:
    """The run with its times; gaps whose time is unknown are left out.

    Raises InputError for two checkpoints whose times are not in the order of training.
    """
    time_I = line.step_I if unit == "step" else line.token_I
    kept = np.flatnonzero(np.isfinite(time_I))
    times = np.rint(time_I[kept]).astype(np.int64)
    origins = tuple(line.run.origins[i] for i in kept)
    for i in np.flatnonzero(np.diff(times) <= 0)[:1]:
        (run, step), (next_run, next_step) = origins[i], origins[i + 1]
        raise InputError(
            f"{unit}s of training do not grow from {run} step {step} ({times[i]:,}) to {next_run} "
            f"step {next_step} ({times[i + 1]:,}): give `tokens_per_step` and `tokens_before` in a "
            "runs file (docs/runs.md)",
            field="time",
        )
    step_I = line.step_I[kept]
    steps = np.rint(step_I).astype(np.int64) if np.isfinite(step_I).all() else times
    run = replace(
        line.run,
        entries=tuple(line.run.entries[i] for i in kept),
        steps=steps,
        axis=times,
        warmup=_warmup(line, step_I),
        unit=unit,
        named_places=origins,
    )
    return run, line.rows[kept]

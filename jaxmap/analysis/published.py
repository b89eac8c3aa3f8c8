"""The published recipe for training runs: which are cleaned together, and which pairs are measured.

As the authors of Kishino et al. (arXiv 2505.15353) have it in their released pipeline. Unlike
jaxmap's own recipe (`pretraining`, `run_pairs`), it cleans each group of runs by itself: the five
sizes, the seeds of the smallest of them, and, for the map of training runs alone, both together.
`published_models` has the other settings, `published_maps` the maps.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.analysis.notes import Note
from jaxmap.analysis.pair_settings import Setting
from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.pythia import BAD_RUNS, CHECKPOINTS, INTERVALS, WARMUP, is_bad
from jaxmap.analysis.runs import Run, runs_of
from jaxmap.stats.clean import clean_pretraining

if TYPE_CHECKING:
    from jaxmap.analysis.trajectories import ExponentCurve
    from jaxmap.store import Store
    from jaxmap.store.record import Entry

SUITE = "EleutherAI/pythia-"
SIZES = tuple(f"{SUITE}{size}" for size in ("410m", "1b", "1.4b", "2.8b", "6.9b"))
SEED = f"{SUITE}410m-seed"  # what the names of the seeds begin with
LEAST_PUBLISHED = 2  # points from which a diffusion exponent is fitted
INTERVAL = 1000  # steps between the two checkpoints of a pair of later and early

SIZES_GROUP, SEEDS_GROUP, TOGETHER = "sizes", "seeds", "sizes and seeds"


def full_name(run: str) -> str:
    """`EleutherAI/pythia-410m` for 410m, as the release calls it; with a slash it is whole."""
    return run if "/" in run else SUITE + run


@dataclass(frozen=True)
class RunGroup:
    """Runs that were cleaned together.

    name: sizes, seeds, or sizes and seeds.
    cleaned: its runs hold the checkpoints that are there after cleaning and no gaps, so that the
      two sides of one that is absent are neighbours.
    """

    name: str
    cleaned: Pretraining
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Groups:
    """The groups of a store; None where it holds none of its runs."""

    sizes: RunGroup | None
    seeds: RunGroup | None
    together: RunGroup | None

    @property
    def found(self) -> tuple[RunGroup, ...]:
        """The groups that the store has, sizes first."""
        return tuple(one for one in (self.sizes, self.seeds, self.together) if one is not None)


def clean_groups(
    store: Store,
    warmup: int | None,
    entries: Sequence[Entry],
    vectors: Callable[[Iterable[Entry]], np.ndarray],
) -> Groups:
    """Cleans each group by itself; `entries` are `store.records()`, `vectors` reads them."""
    warmup = WARMUP if warmup is None else warmup
    runs = {run.full_name: replace(run, warmup=warmup) for run in runs_of(store, entries)}
    sizes = [runs[name] for name in SIZES if name in runs]
    seeds = [
        runs[name]
        for name in sorted(runs)
        if name.startswith(SEED) and name.rpartition("/")[2] not in BAD_RUNS
    ]
    text_bytes_N = store.texts.text_bytes

    def group(name: str, of: Sequence[Run]) -> RunGroup | None:
        return _clean(name, of, text_bytes_N, vectors) if of else None

    return Groups(
        group(SIZES_GROUP, sizes),
        group(SEEDS_GROUP, seeds),
        group(TOGETHER, [*seeds, *sizes]),
    )


def _clean(
    name: str,
    runs: Sequence[Run],
    text_bytes_N: np.ndarray,
    vectors: Callable[[Iterable[Entry]], np.ndarray],
) -> RunGroup:
    """Absent checkpoints are no gaps, excluded ones are: a pair that has one is skipped."""
    saved = [
        (place, number, int(step), entry)
        for place, run in enumerate(runs)
        for number, (step, entry) in enumerate(
            (s, e) for s, e in zip(run.steps, run.entries, strict=True) if e is not None
        )
    ]
    run_K, place_K, step_K = np.array([one[:3] for one in saved], np.int64).T
    excluded_K = np.array([is_bad(runs[r].full_name, step) for r, _, step, _ in saved])
    cleaned = clean_pretraining(
        vectors(one[3] for one in saved),
        [one[3].label for one in saved],
        run_K,
        place_K,
        step_K,
        excluded_K,
        warmup=runs[0].warmup,
        keep_floor=False,
    )
    kept_runs, rows, first = [], [], 0
    for place, run in enumerate(runs):
        kept = [saved[k] for k in cleaned.rows if saved[k][0] == place]
        rows.append(np.arange(first, first + len(kept)))
        first += len(kept)
        steps = np.array([step for _, _, step, _ in kept], np.int64)
        kept_runs.append(replace(run, entries=tuple(e for *_, e in kept), steps=steps))
    pre = Pretraining(
        tuple(kept_runs),
        tuple(rows),
        cleaned.ll_KN,
        cleaned.texts,
        float(text_bytes_N[cleaned.texts].mean()),
        cleaned.dropped,
    )
    return RunGroup(name, pre, _notes(name, runs, pre))


def _notes(name: str, runs: Sequence[Run], pre: Pretraining) -> tuple[Note, ...]:
    """Notes on what is absent from a group, and on what was left out of it or changed."""
    found = []
    for run in runs:
        for entry, step in zip(run.entries, run.steps.tolist(), strict=True):
            if entry is None:
                found.append(Note("absent", f"{run.full_name}, step {step}"))
            elif is_bad(run.full_name, step):
                found.append(Note("excluded", f"{run.full_name}, step {step} (bad)"))
    dropped = pre.dropped
    found += [Note("left out, not finite", label) for label in dropped.not_finite]
    cleaned = (
        f"{len(runs)} runs and {len(pre.ll_KN):,} checkpoints cleaned together: "
        f"{dropped.clipped:,} scores raised to the floor of {dropped.floor:,.2f} nats, "
        f"{len(dropped.texts):,} of {len(pre.texts) + len(dropped.texts):,} texts dropped, "
        f"{pre.mean_bytes:.4f} bytes a text kept"
    )
    return (*found, Note(name, cleaned))


# Settings -----------------------------------------------------------------------------------------


def settings_of_groups(groups: Groups) -> dict[str, Setting]:
    """later, early, seed and size."""
    return {
        "later": _intervals("later", groups.sizes, slice(-INTERVALS, None)),
        "early": _intervals("early", groups.sizes, slice(0, INTERVALS)),
        "seed": _last_common("seed", groups.seeds),
        "size": _last_common("size", groups.sizes),
    }


def _intervals(name: str, group: RunGroup | None, window: slice) -> Setting:
    """Pairs of neighbours 1,000 steps apart that end after warmup: of each run the last or first
    INTERVALS that there are."""
    if group is None:
        return _absent(name, "the store holds none of the five sizes of Pythia")
    pre, pairs, notes = group.cleaned, [], []
    for run, rows in zip(pre.runs, pre.rows, strict=True):
        steps = run.steps.tolist()
        there = [
            (int(rows[i]), int(rows[i + 1]))
            for i, (before, step) in enumerate(itertools.pairwise(steps))
            if step - before == INTERVAL and step > run.warmup
        ]
        pairs += there[window]
        if len(there) < INTERVALS:
            few = f"{run.name} has {len(there)} intervals of {INTERVAL} steps, not {INTERVALS}"
            notes.append(Note(name, few))
    return _setting(name, group, pairs, notes)


def _last_common(name: str, group: RunGroup | None) -> Setting:
    """All pairs of runs at the largest step that all of them have."""
    if group is None or len(group.cleaned.runs) < 2:
        return _absent(name, "the store does not hold two of these runs of Pythia")
    pre = group.cleaned
    common = set.intersection(*(set(run.steps.tolist()) for run in pre.runs))
    if not common:
        return _absent(name, "the runs share no step")
    last = max(common)
    rows = [int(rows[run.steps == last][0]) for run, rows in zip(pre.runs, pre.rows, strict=True)]
    names = ", ".join(run.name for run in pre.runs)
    note = Note(name, f"{names} at step {last}")
    return _setting(name, group, list(itertools.combinations(rows, 2)), [note])


def _setting(
    name: str, group: RunGroup, pairs: Sequence[tuple[int, int]], notes: Sequence[Note]
) -> Setting:
    pre = group.cleaned
    if not pairs:
        return _absent(name, f"no two checkpoints {INTERVAL} steps apart end after {pre.warmup}")
    return Setting(
        name,
        pre.entries,
        pre.ll_KN,
        np.array(pairs, np.int64),
        pre.mean_bytes,
        notes=tuple(notes),
        group=group.name,
    )


def _absent(name: str, reason: str) -> Setting:
    return Setting(name, reason=reason)


def on_published_steps(pre: Pretraining) -> Pretraining:
    """The same runs with all 154 published checkpoints as their saved ones; -1 where there is none.

    A window of the diffusion exponent is over the published list, whatever a run lacks.
    """
    steps = np.array(CHECKPOINTS, np.int64)
    runs, rows = [], []
    for run, row_I in zip(pre.runs, pre.rows, strict=True):
        place = {int(step): i for i, step in enumerate(run.steps)}
        at = [place.get(int(step), -1) for step in steps]
        rows.append(np.array([row_I[i] if i >= 0 else -1 for i in at], np.int64))
        entries = tuple(run.entries[i] if i >= 0 else None for i in at)
        runs.append(replace(run, entries=entries, steps=steps))
    return replace(pre, runs=tuple(runs), rows=tuple(rows))


def without_excluded_gaps(curves: Sequence[ExponentCurve]) -> tuple[ExponentCurve, ...]:
    """Exponents as figure 5 draws them: that of an excluded start is on the line between those of
    the starts beside it. For drawing alone."""
    drawn = []
    for one in curves:
        exponent = one.exponent.copy()
        for place, start in enumerate(one.starts.tolist()):
            beside = [place - 1, place + 1]
            if is_bad(one.trajectory.run, start) and 0 < place < len(exponent) - 1:
                exponent[place] = np.interp(start, one.starts[beside], one.exponent[beside])
        drawn.append(replace(one, exponent=exponent))
    return tuple(drawn)

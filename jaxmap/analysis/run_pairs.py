"""Settings 1 to 4 of the KL scale (Kishino et al., arXiv 2505.15353, fig. 3): training runs.

A setting is a list of pairs of results. One that a store cannot fill is absent, with the reason.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.runs import Run
from jaxmap.store.record import Entry

NAMES = (
    "later", "early", "seed", "size", "8-bit", "4-bit", "ft", "intra-type", "random", "layer",
)  # fmt: skip
INTERVALS = 50  # of each run, for later and early

Pair = tuple[Entry, Entry]


@dataclass(frozen=True)
class Setting:
    """Pairs of results and their cleaned vectors; `reason` says why there are none.

    ll_KN: float64, nats; pairs_P2: rows of it; mean_bytes: of the texts that it is about.
    """

    name: str
    entries: tuple[Entry, ...] = ()
    ll_KN: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    pairs_P2: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.int64))
    mean_bytes: float = float("nan")
    reason: str = ""


def of_runs(pre: Pretraining, notes: list[str]) -> dict[str, Setting]:
    """later, early, seed and size; what was chosen on the way goes to the notes, a line each.

    Of each size one run counts for later, early and size: the one without a seed in its name, else
    the lowest seed.
    """
    families: dict[tuple[str, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, run in enumerate(pre.runs):
        if (pre.rows[place] >= 0).any():
            families[run.facts.series][run.facts.size_word].append(place)
    chosen = [
        [min(places, key=lambda p: _seed_order(pre.runs[p])) for places in sizes.values()]
        for sizes in families.values()
    ]
    later, early = [], []
    for place in (place for family in chosen for place in family):
        pairs = _intervals(pre, place)
        count = min(INTERVALS, len(pairs) // 2)
        early += [pair for pair in pairs[:count] if min(pair) >= 0]
        later += [pair for pair in pairs[len(pairs) - count :] if min(pair) >= 0]
        if 0 < count < INTERVALS:
            notes.append(
                f"later, early: {pre.runs[place].name} has {len(pairs)} intervals from step "
                f"{pre.warmup} on; {count} of them for each"
            )
    short = f"no run has three neighbouring checkpoints from step {pre.warmup} on"
    seeds = [
        (size, _seeds(pre, places)) for sizes in families.values() for size, places in sizes.items()
    ]
    return {
        "later": _pretraining_setting("later", pre, later, short),
        "early": _pretraining_setting("early", pre, early, short),
        "seed": _pretraining_setting(
            "seed",
            pre,
            [pair for size, group in seeds for pair in _last_common(pre, group, size, notes)],
            "no size was trained with two seeds whose checkpoints share a step",
        ),
        "size": _pretraining_setting(
            "size",
            pre,
            [pair for group in chosen for pair in _last_common(pre, group, "size", notes)],
            "no two sizes of one family share a step",
        ),
    }


def _intervals(pre: Pretraining, place: int) -> list[tuple[int, int]]:
    """Rows of neighbouring saved checkpoints from warmup on; -1 for one that is not there."""
    rows = pre.rows[place][pre.runs[place].steps >= pre.warmup].tolist()
    return list(itertools.pairwise(rows))


def _seeds(pre: Pretraining, places: list[int]) -> list[int]:
    """Runs with a seed in their name; the one without joins when these are fewer than three."""
    named = [place for place in places if pre.runs[place].facts.seed is not None]
    return named if len(named) >= 3 else places


def _last_common(
    pre: Pretraining, places: Sequence[int], what: str, notes: list[str]
) -> list[tuple[int, int]]:
    """Rows of all pairs of runs at the last step that all of them have."""
    if len(places) < 2:
        return []
    steps = [set(pre.runs[p].steps[pre.rows[p] >= 0].tolist()) for p in places]
    common = set.intersection(*steps)
    if not common:
        return []
    last = max(common)
    rows = [int(pre.rows[p][pre.runs[p].steps == last][0]) for p in places]
    names = ", ".join(pre.runs[p].name for p in places)
    notes.append(f"{what}: {names} at step {last}")
    return [(a, b) for i, a in enumerate(rows) for b in rows[i + 1 :]]


def _seed_order(run: Run) -> tuple[bool, int]:
    return run.facts.seed is not None, run.facts.seed or 0


def _pretraining_setting(
    name: str, pre: Pretraining, pairs: Sequence[tuple[int, int]], reason: str
) -> Setting:
    if not pairs:
        return Setting(name, reason=reason)
    entry_of = {
        int(row): entry
        for run, rows in zip(pre.runs, pre.rows, strict=True)
        for row, entry in zip(rows, run.entries, strict=True)
        if row >= 0 and entry is not None
    }
    entries = tuple(entry_of[row] for row in range(len(pre.ll_KN)))
    return Setting(name, entries, pre.ll_KN, np.array(pairs, np.int64), pre.mean_bytes)

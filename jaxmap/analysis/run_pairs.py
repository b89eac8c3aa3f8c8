"""The settings later, early, seed and size of the KL scale: pairs of training checkpoints."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from jaxmap.analysis.notes import Note
from jaxmap.analysis.pair_settings import Setting
from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.pythia import INTERVALS
from jaxmap.analysis.runs import Run

GROUP = "all runs"  # the name of the runs that are cleaned together
Rows = tuple[int, int]  # of Pretraining.ll_KN


def settings_of_runs(pre: Pretraining) -> dict[str, Setting]:
    """The settings later, early, seed and size.

    For later, early and size, each size has one run: the one without a seed in its name, otherwise
    that with the lowest seed.
    """
    families: dict[tuple[str, ...], dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for place, run in enumerate(pre.runs):
        if (pre.rows[place] >= 0).any():
            families[run.facts.series][run.facts.size_word].append(place)
    chosen = [
        [min(places, key=lambda p: _seed_order(pre.runs[p])) for places in sizes.values()]
        for sizes in families.values()
    ]
    later, early, few = _late_and_early(pre, [place for family in chosen for place in family])
    short = _too_short(pre)
    by_size = [one for sizes in families.values() for one in sizes.items()]
    seeds = [(size, _seeds(pre, places)) for size, places in by_size]
    seed, seed_notes = _at_last_common_step(pre, seeds)
    size, size_notes = _at_last_common_step(pre, [("size", group) for group in chosen])
    seeds_apart = "no size was trained with two seeds whose checkpoints share a step"
    sizes_apart = "no two sizes of one family share a step"
    return {
        "later": _setting("later", pre, later, short, few),
        "early": _setting("early", pre, early, short, ()),
        "seed": _setting("seed", pre, seed, seeds_apart, seed_notes),
        "size": _setting("size", pre, size, sizes_apart, size_notes),
    }


def _late_and_early(
    pre: Pretraining, places: Sequence[int]
) -> tuple[list[Rows], list[Rows], tuple[Note, ...]]:
    """The last and first INTERVALS intervals after warmup of each run, or at most half of them."""
    later, early, notes = [], [], []
    for place in places:
        run, pairs = pre.runs[place], _intervals(pre, place)
        count = min(INTERVALS, len(pairs) // 2)
        early += [pair for pair in pairs[:count] if min(pair) >= 0]
        later += [pair for pair in pairs[len(pairs) - count :] if min(pair) >= 0]
        if 0 < count < INTERVALS:
            few = (
                f"{run.name} has {len(pairs)} intervals from step {run.warmup} on; {count} of them "
                "for each"
            )
            notes.append(Note("later, early", few))
    return later, early, tuple(notes)


def _too_short(pre: Pretraining) -> str:
    """Why there are no intervals after warmup, and a warmup for which there would be."""
    reason = f"no run has three neighbouring checkpoints from step {pre.warmup} on"
    fit = [int(run.steps[rows >= 0][-3]) for run, rows in zip(pre.runs, pre.rows, strict=True)
           if (rows >= 0).sum() >= 3]  # fmt: skip
    return f"{reason}; `warmup_steps={max(fit)}` leaves some" if fit else reason


def _intervals(pre: Pretraining, place: int) -> list[Rows]:
    """The rows of neighbouring saved checkpoints after warmup; -1 for an absent one."""
    run = pre.runs[place]
    rows = pre.rows[place][run.steps >= run.warmup].tolist()
    return list(itertools.pairwise(rows))


def _seeds(pre: Pretraining, places: list[int]) -> list[int]:
    """The runs with a seed in their name, and if they are fewer than three, the one without."""
    named = [place for place in places if pre.runs[place].facts.seed is not None]
    return named if len(named) >= 3 else places


def _at_last_common_step(
    pre: Pretraining, groups: Sequence[tuple[str, Sequence[int]]]
) -> tuple[list[Rows], tuple[Note, ...]]:
    """The rows of all pairs of runs of a group at the last step that all of them have.

    `groups` has the name of each group and the indices of its runs.
    """
    pairs, notes = [], []
    for what, places in groups:
        if len(places) < 2:
            continue
        steps = [set(pre.runs[p].steps[pre.rows[p] >= 0].tolist()) for p in places]
        common = set.intersection(*steps)
        if not common:
            continue
        last = max(common)
        rows = [int(pre.rows[p][pre.runs[p].steps == last][0]) for p in places]
        names = ", ".join(pre.runs[p].name for p in places)
        notes.append(Note(what, f"{names} at step {last}"))
        pairs += list(itertools.combinations(rows, 2))
    return pairs, tuple(notes)


def _seed_order(run: Run) -> tuple[bool, int]:
    return run.facts.seed is not None, run.facts.seed or 0


def _setting(
    name: str, pre: Pretraining, pairs: Sequence[Rows], reason: str, notes: Sequence[Note]
) -> Setting:
    if not pairs:
        return Setting(name, reason=reason, notes=tuple(notes))
    pairs_P2 = np.array(pairs, np.int64)
    return Setting(
        name, pre.entries, pre.ll_KN, pairs_P2, pre.mean_bytes, notes=tuple(notes), group=GROUP
    )

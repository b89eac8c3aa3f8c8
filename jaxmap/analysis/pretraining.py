"""The training runs of a store, cleaned by the recipe for pretraining (Kishino et al. 2026)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxmap.analysis.runs import Run, runs_of
from jaxmap.stats.clean import WARMUP, Dropped, clean_pretraining
from jaxmap.store import Store
from jaxmap.store.record import Entry

# Anomalous runs of the Pythia suite, outliers for van der Wal et al. (arXiv 2503.09543) too, and
# one bad checkpoint; as left out by Kishino et al. Names without organisation, and steps.
BAD_RUNS = ("pythia-410m-seed3", "pythia-410m-seed4")
BAD_CHECKPOINTS = (("pythia-1b", 116_000),)


@dataclass(frozen=True)
class Pretraining:
    """The runs of a store, the cleaned vectors of the checkpoints kept, and what was dropped.

    ll_KN: float64, nats, of the kept checkpoints on the kept texts.
    rows: for each run, the row of each saved checkpoint in ll_KN, -1: none; int64 [I].
    texts: indices of the kept texts; mean_bytes: of these.
    warmup: the step from which the learning rate is warmed up.
    """

    runs: tuple[Run, ...]
    rows: tuple[np.ndarray, ...]
    ll_KN: np.ndarray
    texts: np.ndarray
    mean_bytes: float
    warmup: int
    dropped: Dropped

    def describe(self) -> list[str]:
        """What is absent, was dropped and was changed, a line each."""
        dropped = self.dropped
        lines = []
        for run in self.runs:
            out = [int(step) for step in run.steps if is_excluded(run, int(step))]
            if len(out) == len(run.steps):
                lines.append(f"excluded: {run.full_name}, all checkpoints (a bad run)")
            else:
                lines += [f"excluded: {run.full_name}, step {step} (bad)" for step in out]
            absent = zip(run.entries, run.steps.tolist(), strict=True)
            lines += [f"absent: {run.full_name}, step {s}" for entry, s in absent if entry is None]
        lines += [f"left out, not finite: {name}" for name in dropped.not_finite]
        lines.append(
            f"pretraining: {dropped.clipped} scores of {len(self.ll_KN)} checkpoints raised to the "
            f"floor of {dropped.floor:.2f} nats"
        )
        lines.append(
            f"pretraining: {len(dropped.texts)} of {len(self.texts) + len(dropped.texts)} texts "
            f"dropped, those that jump most between checkpoints from step {self.warmup} on"
        )
        return lines


def is_excluded(run: Run, step: int) -> bool:
    """Whether a checkpoint is one of the published suite's bad ones."""
    name = run.full_name.rpartition("/")[2]
    return name in BAD_RUNS or (name, step) in BAD_CHECKPOINTS


def load_pretraining(
    store: Store,
    warmup: int = WARMUP,
    entries: Sequence[Entry] | None = None,
    vectors: Callable[[Iterable[Entry]], np.ndarray] | None = None,
) -> Pretraining | None:
    """Reads and cleans the runs of a store; None when it holds none.

    `entries` are `store.records()`, where the caller has them already; `vectors` reads in place
    of `store.log_likelihoods`. A store written by hand may hold vectors that are not finite; they
    are left out by name.
    """
    runs = runs_of(store, entries)
    if not runs:
        return None
    saved = [
        (r, place, int(step), entry)
        for r, run in enumerate(runs)
        for place, (step, entry) in enumerate(zip(run.steps, run.entries, strict=True))
        if entry is not None
    ]
    run_K, place_K, step_K = np.array([one[:3] for one in saved], np.int64).T
    cleaned = clean_pretraining(
        (vectors or store.log_likelihoods)(one[3] for one in saved),
        [one[3].label for one in saved],
        run_K,
        place_K,
        step_K,
        np.array([is_excluded(runs[r], step) for r, _, step, _ in saved]),
        warmup=warmup,
    )
    rows = [np.full(len(run.steps), -1, np.int64) for run in runs]
    for row, place in enumerate(cleaned.rows):
        rows[run_K[place]][place_K[place]] = row
    return Pretraining(
        tuple(runs),
        tuple(rows),
        cleaned.ll_KN,
        cleaned.texts,
        float(store.texts.text_bytes[cleaned.texts].mean()),
        warmup,
        cleaned.dropped,
    )

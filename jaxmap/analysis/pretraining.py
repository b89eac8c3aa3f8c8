"""The training runs of a store, cleaned by the recipe for pretraining (Kishino et al. 2026)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxmap.analysis.notes import Note
from jaxmap.analysis.pythia import is_bad
from jaxmap.analysis.runs import Run, runs_of
from jaxmap.analysis.suspect_checkpoints import Kind, Suspect, find_suspects
from jaxmap.analysis.training_stages import origins_of
from jaxmap.analysis.warmup import with_warmup
from jaxmap.stats.clean import Cleaned, Dropped, clean_pretraining
from jaxmap.store import Store
from jaxmap.store.identical_checkpoints import identical_checkpoints
from jaxmap.store.record import Entry
from jaxmap.store.weight_distances import read_distances


@dataclass(frozen=True)
class Pretraining:
    """The runs of a store with the cleaned vectors of their checkpoints.

    Fields:
      runs: the runs.
      rows: for each run, the row in ll_KN of each saved checkpoint, int64 [I]; -1: none.
      ll_KN: the vectors of the kept checkpoints on the kept texts, float64 in nats.
      texts: the indices of the kept texts.
      mean_bytes: the mean bytes of the kept texts.
      dropped: what was left out or changed.
      suspects: checkpoints that need attention (see the module `suspects`).
      left_out: (run, step) of the suspects that were left out.
    """

    runs: tuple[Run, ...]
    rows: tuple[np.ndarray, ...]
    ll_KN: np.ndarray
    texts: np.ndarray
    mean_bytes: float
    dropped: Dropped
    suspects: tuple[Suspect, ...] = ()
    left_out: frozenset[tuple[str, int]] = frozenset()

    @property
    def run_names(self) -> tuple[str, ...]:
        """The names of the runs, in order."""
        return tuple(run.name for run in self.runs)

    @property
    def warmup(self) -> str:
        """The steps at which the warmups end, as text."""
        ends = {run.warmup for run in self.runs if run.warmup} or {0}
        few = sorted(ends) if len(ends) <= 3 else [min(ends), max(ends)]
        between = ", " if len(ends) <= 3 else " to "
        return between.join(f"{end}" for end in few)

    @property
    def notes(self) -> tuple[Note, ...]:
        """Notes about what is absent, was dropped and was changed."""
        dropped = self.dropped
        found = []
        for run in self.runs:
            out = [int(step) for step in run.steps if is_bad(run.full_name, int(step))]
            if len(out) == len(run.steps):
                found.append(Note("excluded", f"{run.full_name}, all checkpoints (a bad run)"))
            else:
                found += [Note("excluded", f"{run.full_name}, step {step} (bad)") for step in out]
            saved = zip(run.entries, run.steps.tolist(), strict=True)
            found += [
                Note("absent", f"{run.full_name}, step {step}")
                for entry, step in saved
                if entry is None
            ]
        found += [
            Note("excluded", f"{name}, step {step} (a suspect, as asked)")
            for name, step in sorted(self.left_out)
        ]
        # Those that are the same are named as groups.
        found += [Note("suspect", str(one)) for one in self.suspects if one.kind != "same"]
        saved_ones = [entry for run in self.runs for entry in run.entries if entry is not None]
        found += [Note("identical", str(one)) for one in identical_checkpoints(saved_ones)]
        found += [Note("left out, not finite", name) for name in dropped.not_finite]
        raised = (
            f"{dropped.clipped:,} scores of {len(self.ll_KN):,} checkpoints raised to the "
            f"floor of {dropped.floor:,.2f} nats"
        )
        jumpy = (
            f"{len(dropped.texts):,} of {len(self.texts) + len(dropped.texts):,} texts dropped, "
            f"those that jump most between checkpoints from step {self.warmup} on"
        )
        return (*found, Note("pretraining", raised), Note("pretraining", jumpy))

    def row_pairs(self) -> np.ndarray:
        """The pairs of rows [P, 2] of neighbouring saved checkpoints that are both kept, by run."""
        pairs = [
            np.stack([rows[:-1], rows[1:]], axis=1)[(rows[:-1] >= 0) & (rows[1:] >= 0)]
            for rows in self.rows
        ]
        return np.concatenate(pairs) if pairs else np.empty((0, 2), np.int64)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The checkpoint of each row of ll_KN."""
        found: dict[int, Entry] = {}
        for run, rows in zip(self.runs, self.rows, strict=True):
            for row, entry in zip(rows.tolist(), run.entries, strict=True):
                if row >= 0 and entry is not None:
                    found[row] = entry
        return tuple(found[row] for row in range(len(self.ll_KN)))


def load_pretraining(
    store: Store,
    warmup: int | None,
    entries: Sequence[Entry] | None = None,
    vectors: Callable[[Iterable[Entry]], np.ndarray] | None = None,
    leave_out: Collection[Kind] = (),
) -> Pretraining | None:
    """Reads and cleans the runs of a store; returns None if it has none.

    Vectors that are not finite, which a store written by other programs may contain, are left out
    by name.

    Args:
      store: the store.
      warmup: the step at which all warmups end; None: see the module `warmup`.
      entries: `store.records()`, if the caller has them already.
      vectors: reads vectors instead of `store.log_likelihoods`.
      leave_out: kinds of suspects that are left out before cleaning.
    """
    runs = runs_of(store, entries)
    if not runs:
        return None
    runs = with_warmup(runs, warmup, origins_of(runs, store.names))
    saved = [
        (r, place, int(step), entry)
        for r, run in enumerate(runs)
        for place, (step, entry) in enumerate(zip(run.steps, run.entries, strict=True))
        if entry is not None
    ]
    ll_KN = (vectors or store.log_likelihoods)(one[3] for one in saved)
    named = [(runs[r].full_name, step) for r, _, step, _ in saved]

    def cleaned_without(left_out: frozenset[tuple[str, int]]) -> Cleaned:
        return _cleaned(ll_KN, saved, runs, named, left_out)

    def rows_of(cleaned: Cleaned) -> list[np.ndarray]:
        rows = [np.full(len(run.steps), -1, np.int64) for run in runs]
        for row, place in enumerate(cleaned.rows):
            rows[saved[place][0]][saved[place][1]] = row
        return rows

    left_out: frozenset[tuple[str, int]] = frozenset()
    cleaned = cleaned_without(left_out)
    suspects = find_suspects(
        runs,
        rows_of(cleaned),
        cleaned.ll_KN,
        _mean_bytes(store, cleaned),
        read_distances(store.path),
    )
    if leave_out:
        left_out = frozenset(
            (one.run, step) for one in suspects if one.kind in leave_out for step in one.left_out
        )
        cleaned = cleaned_without(left_out)
    return Pretraining(
        tuple(runs),
        tuple(rows_of(cleaned)),
        cleaned.ll_KN,
        cleaned.texts,
        _mean_bytes(store, cleaned),
        cleaned.dropped,
        suspects,
        left_out,
    )


def _mean_bytes(store: Store, cleaned: Cleaned) -> float:
    return float(store.texts.text_bytes[cleaned.texts].mean())


def _cleaned(
    ll_KN: np.ndarray,
    saved: Sequence[tuple[int, int, int, Entry]],
    runs: Sequence[Run],
    named: Sequence[tuple[str, int]],
    left_out: frozenset[tuple[str, int]],
) -> Cleaned:
    """Cleaned for pretraining, without bad checkpoints and those left out."""
    run_K, place_K, step_K = np.array([one[:3] for one in saved], np.int64).T
    warmup_R = np.array([run.warmup for run in runs])
    return clean_pretraining(
        ll_KN,
        [one[3].label for one in saved],
        run_K,
        place_K,
        step_K - warmup_R[run_K],
        np.array([is_bad(*one) or one in left_out for one in named]),
        warmup=0,
    )

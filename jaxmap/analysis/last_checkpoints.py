"""The KL between the last checkpoints of training runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxmap.analysis.context import Context
from jaxmap.analysis.kl import KlTable
from jaxmap.analysis.runs import Run
from jaxmap.stats.divergence import kl_pairs
from jaxmap.store.record import Entry


@dataclass(frozen=True)
class Finals(KlTable):
    """The raw KL between the last checkpoints of every two runs.

    `runs` has the run of each label; `left_out` is the number of runs that were not compared.
    """

    runs: tuple[Run, ...]
    left_out: int


def last_checkpoints(context: Context) -> list[tuple[Run, Entry]]:
    """The last checkpoint, among those that cleaning keeps, of each run."""
    pre = context.pretraining
    found = []
    for run, rows in zip(pre.runs, pre.rows, strict=True) if pre else ():
        kept = [e for e, row in zip(run.entries, rows, strict=True) if row >= 0 and e is not None]
        if kept:
            found.append((run, kept[-1]))
    return found


def measure_finals(context: Context, most: int | None = None) -> Finals:
    """The KL between the last checkpoints of every two of the first `most` runs; None: all."""
    every = last_checkpoints(context)
    last = every[:most]
    pairs_P2 = np.stack(np.triu_indices(len(last), k=1), axis=1)
    ll_RN = context.vectors(entry for _, entry in last)
    return Finals(
        tuple(entry.label for _, entry in last),
        pairs_P2,
        *kl_pairs(ll_RN, pairs_P2, context.mean_bytes),
        tuple(run for run, _ in last),
        len(every) - len(last),
    )

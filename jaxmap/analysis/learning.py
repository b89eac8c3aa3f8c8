"""What the training runs of a store learn, and how far apart they end."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from jaxmap.analysis.context import Reading
from jaxmap.analysis.runs import Run
from jaxmap.figures.learning import Learning, bits_per_byte
from jaxmap.stats.divergence import Divergence, kl_pairs
from jaxmap.store.record import Entry


@dataclass(frozen=True)
class Finals:
    """The last checkpoint of each run, pairs [P, 2] of places among them, and the KL of each pair,
    uncleaned."""

    runs: tuple[Run, ...]
    entries: tuple[Entry, ...]
    pairs_P2: np.ndarray
    divergence: Divergence


def learning_of(reading: Reading) -> list[Learning]:
    """Bits per byte of the checkpoints of each run, uncleaned; none in a PMI store.

    A checkpoint that is absent or left out by cleaning is NaN; a run left out is not there.
    """
    pre = reading.pretraining if reading.has_losses else None
    found = []
    for run, rows in zip(pre.runs, pre.rows, strict=True) if pre else ():
        kept = np.flatnonzero(rows >= 0)
        if not len(kept):
            continue
        bits_I = np.full(len(rows), np.nan)
        error_I = bits_I.copy()
        entries = [entry for entry in (run.entries[i] for i in kept) if entry is not None]
        text_bytes = reading.store.texts.text_bytes
        bits_I[kept], error_I[kept] = bits_per_byte(reading.vectors(entries), text_bytes)
        found.append(Learning(run.name, run.steps, bits_I, error_I))
    return found


def last_checkpoints(reading: Reading) -> list[tuple[Run, Entry]]:
    """The last checkpoint of each run that cleaning keeps."""
    pre = reading.pretraining
    found = []
    for run, rows in zip(pre.runs, pre.rows, strict=True) if pre else ():
        kept = [e for e, row in zip(run.entries, rows, strict=True) if row >= 0 and e is not None]
        if kept:
            found.append((run, kept[-1]))
    return found


def between_finals(reading: Reading, most: int | None = None) -> Finals:
    """KL between the last checkpoints of every two of the first `most` runs."""
    last = last_checkpoints(reading)[:most]
    pairs_P2 = np.stack(np.triu_indices(len(last), k=1), axis=1)
    ll_RN = reading.vectors(entry for _, entry in last)
    divergence = kl_pairs(ll_RN, pairs_P2, reading.store.texts.mean_bytes)
    return Finals(tuple(r for r, _ in last), tuple(e for _, e in last), pairs_P2, divergence)

"""`jaxmap kl`: from a store to a table of KL divergences."""

from __future__ import annotations

import csv
import difflib
import io
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import BinaryIO

import numpy as np
from absl import logging

from jaxmap.atomic import write_atomic
from jaxmap.errors import InputError
from jaxmap.labels import trajectory_of
from jaxmap.map.divergence import kl_pairs
from jaxmap.progress import progress
from jaxmap.record import Entry, checkpoint_name
from jaxmap.store import Store

COLUMNS = ("model_a", "model_b", "kl_bits_per_byte", "standard_error")


def write_kl(store: Store, out: str | os.PathLike[str], pairs: str = "all") -> int:
    """Writes one row a pair of models to a .csv file; returns how many.

    `pairs` is `all` (each unordered pair once), `consecutive` (neighbouring checkpoints of each
    training run, variant and layer) or `A:B` (two labels). Bits per byte; the standard error is
    over texts. Raises InputError when the store holds no such pair.
    """
    entries = store.records()
    blocks: Iterator[np.ndarray]
    if pairs == "all":
        if len(entries) < 2:
            raise InputError(
                f"{store.path}: holds {len(entries)} result(s), a KL needs two: score more models"
            )
        blocks, total = all_pairs(len(entries)), len(entries) * (len(entries) - 1) // 2
    else:
        pairs_P2 = consecutive_pairs(entries) if pairs == "consecutive" else [named(entries, pairs)]
        if not pairs_P2:
            raise InputError(
                f"{store.path}: no two checkpoints of one training run (names like "
                f"org/name@step1000, run/step1000 or run@step1000): use --pairs=all or A:B"
            )
        if pairs == "consecutive":
            _warn_of_gaps(store)
        used = np.unique(pairs_P2)  # only these rows are read
        entries = [entries[row] for row in used]
        blocks, total = iter([np.searchsorted(used, pairs_P2)]), len(pairs_P2)

    ll_KN = store.log_likelihoods(entries)

    def write(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(COLUMNS)
        with progress(total, "kl", "pair") as bar:
            for pairs_P2 in blocks:
                result = kl_pairs(ll_KN, pairs_P2, store.texts.mean_bytes)
                values = zip(pairs_P2.tolist(), *(one.tolist() for one in result), strict=True)
                rows.writerows(
                    (entries[i].label, entries[j].label, repr(kl), repr(error))
                    for (i, j), kl, error in values
                )
                bar.update(len(pairs_P2))
        text.detach()

    write_atomic(out, write)
    return total


def all_pairs(num_models: int) -> Iterator[np.ndarray]:
    """Every pair i < j once, in order, in blocks [P, 2]."""
    for i in range(num_models - 1):
        j = np.arange(i + 1, num_models)
        yield np.stack([np.full_like(j, i), j], axis=1)


def consecutive_pairs(entries: Sequence[Entry]) -> list[tuple[int, int]]:
    """Rows of neighbouring saved checkpoints, run by run; the entries are in the store's order."""
    runs: dict[tuple[object, ...], list[int]] = defaultdict(list)
    for row, entry in enumerate(entries):
        run = trajectory_of(entry)
        if run is not None:
            runs[run].append(row)
    return [pair for rows in runs.values() for pair in pairwise(rows)]


def named(entries: Sequence[Entry], spec: str) -> tuple[int, int]:
    """The rows of `A:B`; a name may itself contain a colon."""
    places = [place for place, letter in enumerate(spec) if letter == ":"]
    if not places:
        raise InputError(f"--pairs={spec}: neither all, nor consecutive, nor A:B")
    splits = [(spec[:place], spec[place + 1 :]) for place in places]
    found = [(_rows(entries, a), _rows(entries, b)) for a, b in splits]
    pairs = {(a[0], b[0]) for a, b in found if len(a) == len(b) == 1}
    if len(pairs) == 1:
        (pair,) = pairs
        if pair[0] == pair[1]:
            raise InputError(f"--pairs={spec}: names the same result twice")
        return pair
    if pairs:
        raise InputError(f"--pairs={spec}: fits several pairs: a name in it contains ':'")
    # Complain about the split that fits best.
    best = max(range(len(splits)), key=lambda n: bool(found[n][0]) + bool(found[n][1]))
    for name, rows in zip(splits[best], found[best], strict=True):
        if not rows:
            raise InputError(
                f"--pairs={spec}: no model {name!r} in the store{_near(entries, name)}"
            )
        if len(rows) > 1:
            several = ", ".join(entries[row].label for row in rows[:5])
            more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
            raise InputError(
                f"--pairs={spec}: {name!r} names several results: {several}{more}: name one"
            )
    raise AssertionError("unreachable: every split with one row each is a pair")


def _rows(entries: Sequence[Entry], name: str) -> list[int]:
    """The row with this label, else the rows of this checkpoint, else of this model."""
    for known_as in (
        lambda entry: entry.label,
        lambda entry: checkpoint_name(entry.identity.ref, entry.identity.revision),
        lambda entry: entry.identity.ref,
    ):
        rows = [row for row, entry in enumerate(entries) if known_as(entry) == name.rstrip("/")]
        if rows:
            return rows
    return []


def _near(entries: Sequence[Entry], name: str) -> str:
    labels = [entry.label for entry in entries]
    near = difflib.get_close_matches(name, labels, n=3, cutoff=0.3) or labels[:3]
    return f"; nearest: {', '.join(near)}" if near else ", it is empty"


def _warn_of_gaps(store: Store) -> None:
    absent = len(store.missing()) + len(store.failures())
    if absent:
        logging.warning(
            "%s: %d of the models asked for are missing or failed; pairs of neighbours may span "
            "a gap (see `jaxmap status`)",
            store.path,
            absent,
        )

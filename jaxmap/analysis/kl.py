"""`jaxmap kl`: from a store to a table of KL divergences."""

from __future__ import annotations

import csv
import difflib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import numpy as np
from absl import logging

from jaxmap.atomic import check_writable, write_atomic
from jaxmap.errors import InputError, JaxmapError
from jaxmap.progress import progress
from jaxmap.stats.divergence import Divergence, kl_KK, kl_pairs, kl_strips
from jaxmap.store import Store
from jaxmap.store.labels import rows_by_run
from jaxmap.store.record import Entry, checkpoint_name

Block = tuple[Sequence[tuple[str, str]], Divergence]

COLUMNS = ("model_a", "model_b", "kl_bits_per_byte", "standard_error")


def write_kl(store: Store, out: str | os.PathLike[str], pairs: str = "all") -> int:
    """Writes one row a pair of models to a .csv file; returns how many.

    `pairs` is `all` (each unordered pair once), `consecutive` (neighbouring checkpoints of each
    training run, variant and layer) or `A:B` (two labels). Bits per byte; the standard error is
    over texts. Raises InputError when the store holds no such pair.
    """
    if pairs == "all":
        return _write_all(store, out)
    entries = store.records()
    pairs_P2 = consecutive_pairs(entries) if pairs == "consecutive" else [named(entries, pairs)]
    if not pairs_P2:
        raise InputError(
            f"{store.path}: no two checkpoints of one training run (names like "
            f"org/name@step1000, run/step1000 or run@step1000): use --pairs=all or A:B"
        )
    if pairs == "consecutive":
        _warn_of_gaps(store)
    used = np.unique(pairs_P2)  # only these rows are read
    ll_KN = store.log_likelihoods(entries[row] for row in used)
    result = kl_pairs(ll_KN, np.searchsorted(used, pairs_P2), store.texts.mean_bytes)
    labels = [(entries[i].label, entries[j].label) for i, j in pairs_P2]
    _write_rows(out, [(labels, result)])
    return len(labels)


def write_kl_matrix(store: Store, out: str | os.PathLike[str]) -> int:
    """Writes all pairs as a symmetric matrix [K, K], float64, .npy; returns the number of models.

    For many models: neither the result nor the vectors are ever whole in memory. The rows are in
    the order of `Store.records()`, written beside it as OUT.models.txt, one label a line.
    """
    entries = _two_or_more(store)
    out = Path(out)
    size = len(entries)
    with _vectors(store, entries, out) as (folder, ll_KN):
        target = folder / "kl.npy"
        kl = _memmap(target, (size, size))
        with progress(size * (size - 1) // 2, "kl", "pair") as bar:
            kl_KK(
                ll_KN,
                store.texts.mean_bytes,
                out=Divergence(kl, np.empty((0, 0))),
                errors=False,
                update=bar.update,
            )
        kl.flush()
        labels = "".join(f"{entry.label}\n" for entry in entries)
        write_atomic(
            out.with_name(f"{out.name}.models.txt"), labels.encode(errors="surrogateescape")
        )
        os.replace(target, out)
    return size


@contextmanager
def _vectors(store: Store, entries: Sequence[Entry], out: Path) -> Iterator[tuple[Path, np.memmap]]:
    """A folder beside `out`, for a while, and in it all vectors [K, N], which need not fit into
    memory."""
    beside = out.absolute().parent
    check_writable(beside)
    with TemporaryDirectory(prefix=".jaxmap-", dir=beside) as folder:
        ll_KN = _memmap(Path(folder) / "ll.npy", (len(entries), len(store.texts.text_bytes)))
        for row, entry in enumerate(entries):
            ll_KN[row] = store.load(entry).log_likelihood
        yield Path(folder), ll_KN


def _memmap(path: Path, shape: tuple[int, int]) -> np.memmap:
    """A new float64 array in a file whose room on the disk is taken at once: a write to a map for
    which there is none kills the process."""
    array = np.lib.format.open_memmap(path, "w+", np.float64, shape)
    if hasattr(os, "posix_fallocate"):
        try:
            with open(path, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
        except OSError as error:
            raise JaxmapError(
                f"{path.parent}: no room for {path.stat().st_size / 1e9:.1f} GB: {error.strerror}"
            ) from error
    return array


def _two_or_more(store: Store) -> list[Entry]:
    entries = store.records()
    if len(entries) < 2:
        raise InputError(
            f"{store.path}: holds {len(entries)} result(s), a KL needs two: score more models"
        )
    return entries


def _write_all(store: Store, out: str | os.PathLike[str]) -> int:
    """Each unordered pair once, row by row; in memory is a strip of rows."""
    entries = _two_or_more(store)
    total = len(entries) * (len(entries) - 1) // 2
    labels = [entry.label for entry in entries]

    def blocks() -> Iterator[Block]:
        for first, strip in kl_strips(ll_KN, store.texts.mean_bytes, update=bar.update):
            for i, values in enumerate(zip(*strip, strict=True), first):
                after = i + 1 - first
                names = [(labels[i], other) for other in labels[i + 1 :]]
                yield names, Divergence(*(value[after:] for value in values))

    with _vectors(store, entries, Path(out)) as (_, ll_KN), progress(total, "kl", "pair") as bar:
        _write_rows(out, blocks())
    return total


def _write_rows(out: str | os.PathLike[str], blocks: Iterable[Block]) -> None:
    def write(file: BinaryIO) -> None:
        text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow(COLUMNS)
        for labels, result in blocks:
            values = zip(labels, *(one.tolist() for one in result), strict=True)
            rows.writerows((a, b, repr(kl), repr(error)) for (a, b), kl, error in values)
        text.detach()

    write_atomic(out, write)


def consecutive_pairs(entries: Sequence[Entry]) -> list[tuple[int, int]]:
    """Rows of neighbouring saved checkpoints, run by run."""
    return [pair for rows in rows_by_run(entries).values() for pair in pairwise(rows)]


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

"""KL tables of any number of models, written to files in bounded memory."""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

import numpy as np

from jaxmap.analysis.context import Context
from jaxmap.analysis.kl import KlTable, measure_kl
from jaxmap.analysis.kl_pairs import two_or_more
from jaxmap.atomic import check_writable, one_line_errors, write_atomic
from jaxmap.byte_sizes import byte_text
from jaxmap.errors import InputError, JaxmapError
from jaxmap.progress import progress
from jaxmap.stats.divergence import Divergence, kl_KK, kl_strips
from jaxmap.store import Store
from jaxmap.store.record import Entry

Block = tuple[Sequence[tuple[str, str]], Divergence]
ENDINGS = (".csv", ".npy")


def write_kl(
    store: Store, out: str | os.PathLike[str], pairs: str = "all", base: str | None = None
) -> int:
    """Writes the KLs of a store to a file in the format of its ending; returns their number.

    .csv has one row per pair, with standard errors. .npy is a symmetric matrix [K, K] of all
    pairs, float64, with the labels of its rows in OUT.models.txt. KLs are in bits per byte. For
    `pairs` and `base` see `measure_kl`. Raises InputError for another ending, or if the store has
    no such pair.
    """
    out = Path(out)
    ending = out.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(
            f"unknown ending {out.suffix!r}: use one of {', '.join(ENDINGS)}",
            field="out",
            value=out,
        )
    if ending == ".npy":
        for field, value in (("pairs", pairs), ("base", base)):
            if value not in ("all", None):
                raise InputError("a .npy holds all pairs: write a .csv", field=field, value=value)
        size = write_kl_matrix(store, out)
        return size * (size - 1) // 2
    if pairs == "all" and base is None:
        return _write_all(store, out)
    table = measure_kl(Context(store), pairs, base)
    table.write(out)
    return len(table.kl)


def write_kl_matrix(store: Store, out: str | os.PathLike[str]) -> int:
    """Writes all pairs as a symmetric matrix [K, K], float64, .npy; returns the number of models.

    It suits many models: neither the result nor the vectors are completely in memory. The rows are
    in the order of `Store.records()`; their labels are written to OUT.models.txt, one per line.
    """
    entries = store.records()
    two_or_more(store, entries)
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
    """A temporary folder beside `out` with a memory map of all vectors [K, N].

    The vectors need not fit into memory.
    """
    if out.is_dir():
        raise InputError(f"{out}: cannot be written: it is a folder: name a file")
    beside = out.absolute().parent
    check_writable(beside)
    with one_line_errors(out), TemporaryDirectory(prefix=".jaxmap-", dir=beside) as folder:
        ll_KN = _memmap(Path(folder) / "ll.npy", (len(entries), len(store.texts.text_bytes)))
        for row, entry in enumerate(entries):
            ll_KN[row] = store.load(entry).vector
        yield Path(folder), ll_KN


def _memmap(path: Path, shape: tuple[int, int]) -> np.memmap:
    """A new float64 array in a memory-mapped file, with its disk space allocated at once.

    Otherwise a write to the map on a full disk would kill the process.
    """
    size = 8 * math.prod(shape)
    try:
        array = np.lib.format.open_memmap(path, "w+", np.float64, shape)
        if hasattr(os, "posix_fallocate"):
            with open(path, "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    except OSError as error:
        raise JaxmapError(
            f"{path.parent.parent}: no space for {byte_text(size)}: {error.strerror or error}"
        ) from error
    return array


def _write_all(store: Store, out: str | os.PathLike[str]) -> int:
    """Writes each unordered pair once, row by row; memory has one strip of rows at a time."""
    entries = store.records()
    two_or_more(store, entries)
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
        rows.writerow(KlTable.columns)
        for labels, result in blocks:
            values = zip(labels, *(one.tolist() for one in result), strict=True)
            rows.writerows((a, b, repr(kl), repr(error)) for (a, b), kl, error in values)
        text.detach()

    write_atomic(out, write)

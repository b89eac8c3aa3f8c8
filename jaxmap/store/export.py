"""`jaxmap export`: a store as one file for other tools."""

from __future__ import annotations

import csv
import errno
import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxmap.atomic import write_atomic
from jaxmap.errors import InputError
from jaxmap.output_paths import check_file
from jaxmap.store import Store
from jaxmap.store.export_arrays import exported, statistics_of
from jaxmap.store.record import Entry
from jaxmap.store.statistics import STATISTICS

_BYTES_A_MODEL, _BYTES_MORE = 4096, 1 << 20  # an upper bound on the size of labels in a .nc file

FORMATS_HELP = """\
.npz  log_likelihood float64 [models, texts] in nats, num_tokens and num_scored int32 of the same
      shape, model [models] (labels), text_bytes [texts], mean_text_bytes; opens with numpy.load;
      other statistics that were scored are further arrays of that shape, NaN where there is none
.csv  one row per model and text: model, text (its index), log_likelihood, num_tokens, and other
      statistics
.nc   the same as labelled arrays, with ref, revision, step, dtype, ...; opens with
      xarray.open_dataset"""


ENDINGS = (".npz", ".csv", ".nc")


def export(store: Store, out: str | os.PathLike[str]) -> int:
    """Writes all results in the format of the file's ending; returns their number.

    The endings are .npz, .csv (one row per model and text) and .nc (`Store.dataset`). Only a few
    rows are in memory at a time. Raises InputError for another ending or an empty store.
    """
    out = Path(out)
    check_file(out, *ENDINGS)
    writers: dict[str, Callable[[Store, list[Entry], BinaryIO], None]] = {
        ".npz": _write_npz,
        ".csv": _write_csv,
        ".nc": _write_nc,
    }
    writer = writers[out.suffix.lower()]
    entries = store.records()
    if not entries:
        raise InputError(f"{store.path}: holds no results: score models into it first")
    write_atomic(out, lambda file: writer(store, entries, file))
    return len(entries)


def _write_npz(store: Store, entries: list[Entry], file: BinaryIO) -> None:
    whole = {
        "model": np.array([entry.label for entry in entries], dtype=str),
        "mean_text_bytes": np.array(store.texts.mean_bytes),
        "text_bytes": store.texts.text_bytes,
    }
    names = statistics_of(entries)
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            # A ZipInfo has a fixed date: the same results give the same bytes.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                header = {
                    "descr": np.lib.format.dtype_to_descr(_dtype(name)),
                    "fortran_order": False,
                    "shape": (len(entries), len(store.texts.text_bytes)),
                }
                np.lib.format.write_array_header_1_0(member, header)
                for entry in entries:
                    member.write(exported(store.load(entry), [name])[name].tobytes())
        for name, array in whole.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


def _write_csv(store: Store, entries: list[Entry], file: BinaryIO) -> None:
    text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
    rows = csv.writer(text, lineterminator="\n")
    names = [name for name in statistics_of(entries) if name != "num_scored"]
    rows.writerow(("model", "text", *names))
    for entry in entries:
        arrays = exported(store.load(entry), names).values()
        columns = zip(*(array_N.tolist() for array_N in arrays), strict=True)
        rows.writerows((entry.label, index, *values) for index, values in enumerate(columns))
    text.detach()


def _write_nc(store: Store, entries: list[Entry], file: BinaryIO) -> None:
    """Creates the file and its labels by HDF5, and writes the matrices into it row by row.

    HDF5 itself then never writes to a full disk, which would crash it, and rows need little memory.
    """
    import h5netcdf
    import h5py

    path = file.name
    num_texts = len(store.texts.text_bytes)
    names = statistics_of(entries)
    bytes_per_text = sum(_dtype(name).itemsize for name in names)
    _take_room(file, len(entries) * (num_texts * bytes_per_text + _BYTES_A_MODEL) + _BYTES_MORE)
    store.labels(entries).to_netcdf(path, engine="h5netcdf")
    with h5netcdf.File(path, "a") as made:
        for name in names:
            made.create_variable(name, ("model", "text"), _dtype(name))
    places = {}
    with h5py.File(path, "r+") as made:
        for name in names:
            made[name][0, 0] = 0  # allocates its space in the file
            places[name] = made[name].id.get_offset()
    _take_room(file, os.path.getsize(path))
    for row, entry in enumerate(entries):
        for name, array_N in exported(store.load(entry), names).items():
            file.seek(places[name] + row * num_texts * _dtype(name).itemsize)
            file.write(array_N.tobytes())


def _dtype(name: str) -> np.dtype:
    return np.dtype(STATISTICS[name].dtype)


def _take_room(file: BinaryIO, size: int) -> None:
    """Allocates disk space at once, if the system can; raises OSError if there is too little."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            if error.errno not in (
                errno.EINVAL,
                errno.EOPNOTSUPP,
            ):  # not supported by this file system
                raise

"""The contents of a store: open_store, status, export, import_released, forget."""

from __future__ import annotations

import dataclasses
import os
import shutil
import sys
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from jaxmap.api.arguments import (
    Models,
    Path,
    StoreLike,
    check_new_store,
    models_of,
    open_for_reading,
)
from jaxmap.errors import InputError, JaxmapError
from jaxmap.output_paths import check_folder
from jaxmap.results import Result, Table
from jaxmap.store import Store
from jaxmap.store.status import StatusReport

if TYPE_CHECKING:
    import pandas

    from jaxmap.released.convert import Imported
    from jaxmap.store.forget import Forgotten


def open_store(store: Path) -> Store:
    """Opens a store for reading; raises InputError where there is none."""
    return Store.open(store)


def status(store: StoreLike, *, watch: float | None = None, hub: bool = False) -> StatusReport:
    """Compares the requested items of a store with its results: done, failed and why, missing.

    Args:
      store: a folder, or a store that is open.
      watch: seconds between two updates of a live table of all processes that use the store,
        here and on other machines, printed until all is done or the call is interrupted; None:
        compare once and print nothing.
      hub: whether to list again what the Hub has of the models that were listed when they were
        asked for (`org/name@*` and ranges); else as they were then.

    Returns the last status, of which `complete` says whether all items are done.
    """
    opened = open_for_reading(store)
    if watch is None:
        from jaxmap.store.listings import not_asked
        from jaxmap.store.status import status as status_of

        if hub:
            _list_again(opened)
        return dataclasses.replace(
            status_of(opened), suspects=_suspects(opened), not_asked=not_asked(opened)
        )
    from jaxmap.store.watch import watch as show

    if not 0.1 <= watch < 1e6:
        raise InputError("seconds, from 0.1 on", field="watch", value=watch)
    return show(opened, sys.stdout, watch)


def _list_again(store: Store) -> None:
    from jaxmap.checkpoint.listing import revisions
    from jaxmap.store.listings import read_listings, write_listings

    write_listings(store.path, {name: revisions(name) for name in read_listings(store.path)})


def _suspects(store: Store) -> list[str]:
    """Checkpoints of runs that a user should check, one per line, by their scores as they are; one
    run is in memory at a time."""
    import numpy as np

    from jaxmap.analysis.runs import runs_of
    from jaxmap.analysis.suspect_checkpoints import find_suspects
    from jaxmap.store.weight_distances import read_distances

    lines: list[str] = []
    try:
        weights = read_distances(store.path)
        for run in runs_of(store):
            there = np.array([entry is not None for entry in run.entries])
            rows = np.where(there, np.cumsum(there) - 1, -1)
            ll_KN = store.log_likelihoods(entry for entry in run.entries if entry is not None)
            found = find_suspects([run], [rows], ll_KN, store.texts.mean_bytes, weights)
            lines += [f"{one} ({one.kind})" for one in found if one.kind != "same"]
    except JaxmapError as error:  # such as two results of one step, or a damaged file
        lines.append(str(error))
    return lines


@dataclasses.dataclass(frozen=True)
class Exported(Result):
    """Files that were written from a store.

    Fields:
      store: the store.
      files: their paths.
    """

    store: Store
    files: tuple[FilePath, ...]

    def text(self) -> str:
        """One line that says what is where."""
        if len(self.files) == 1:
            return f"{len(self.store.records())} models in {self.files[0]}\n"
        names = ", ".join(path.name for path in self.files)
        return f"{len(self.files)} files in {self.files[0].parent}: {names}\n"

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per model: its label, reference, revision, commit, step, dtype and the like."""
        import pandas

        from jaxmap.store.labels import columns

        return pandas.DataFrame(columns(self.store.records()))

    def save(self, folder: Path) -> list[FilePath]:
        """Copies the files into `folder`, which is made."""
        FilePath(folder).mkdir(parents=True, exist_ok=True)
        return [FilePath(shutil.copy(path, folder)) for path in self.files]


def export(store: StoreLike, *, out: Path | None = None, released: Path | None = None) -> Exported:
    """Writes the log-likelihood matrix of a store, in nats, to one file for other tools.

    Args:
      store: a folder, or a store that is open. In a notebook `store.dataset()` of an open store
        gives the same as labelled arrays, without a file.
      out: the file. .npz: log_likelihood float64 [K, N], num_tokens, num_scored, model [K],
        text_bytes [N], mean_text_bytes; .csv: one line per model and text; .nc: labelled, for
        xarray.
      released: in place of `out`, a folder for the layout of the authors' data: the way back of
        `import_released`.

    Raises InputError for another ending, an empty store, or where not one of the two is given.
    """
    if (out is None) == (released is None):
        raise InputError("and `released`: give one of them", field="out")
    opened = open_for_reading(store)
    if released is not None:
        check_folder(released, "released")
        from jaxmap.released.export import write_released

        return Exported(opened, tuple(write_released(opened, released)))
    from jaxmap.store.export import export as write

    assert out is not None
    write(opened, out)
    return Exported(opened, (FilePath(out),))


def forget(store: StoreLike, models: Models) -> Forgotten:
    """Takes models out of a store: results, failures, requests and weight distances.

    A later run that asks for a model again computes it again.

    Args:
      store: a folder, or a store that is open.
      models: references, as they were scored. `*`, `?` and `[...]` match what the store knows:
        "org/name@stage1-*" are all checkpoints of a stage, "org/name@*" all revisions.

    Raises InputError, and removes nothing, when the store knows nothing of one of them.
    """
    from jaxmap.store.forget import forget as take_out

    refs = models_of(models, find_them=False)
    return take_out(open_for_reading(store), [(ref.name, ref.revision) for ref in refs])


@dataclasses.dataclass(frozen=True)
class ImportedRelease(Table):
    """What a released folder gave.

    Fields:
      store: the store that it was read into.
      report: the numbers of results added and found, and the labels of those that were left out.
    """

    file = "imported.csv"
    columns = ("model", "state")

    store: Store
    report: Imported

    def text(self) -> str:
        """A line for each thing that a reader has to know."""
        return self.report.text()

    def rows(self) -> list[tuple[str, str]]:
        """Every model of the folder: in the store, not finite, or not scored in the release."""
        return [
            *((entry.label, "in the store") for entry in self.store.records()),
            *((label, "not finite") for label in self.report.not_finite),
            *((label, "not scored in the release") for label in self.report.absent),
        ]


def import_released(released: Path, store: Path) -> ImportedRelease:
    """Reads the data folder that the papers' authors released into a store.

    The folder holds pickled NumPy arrays, which a loader reads that admits nothing else. Every
    table and figure can then be made with no model and no GPU.

    Args:
      released: the authors' folder as cloned (kl-scale), its data/, or all .pkl and .json files in
        one place; nothing is written there.
      store: a folder, made if it is not there.

    Raises InputError for a folder without these files, or with other contents.
    """
    from jaxmap.released.convert import import_released as read

    check_new_store(store)
    opened, report = read(os.fspath(released), os.fspath(store))
    return ImportedRelease(opened, report)

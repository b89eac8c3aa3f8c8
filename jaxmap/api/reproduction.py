"""The published results from the authors' released data: reproduce."""

from __future__ import annotations

import os
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from jaxmap.api.arguments import Path
from jaxmap.output_paths import check_folder

if TYPE_CHECKING:
    from jaxmap.reports.reproduction import Reproduction


def reproduce(released: Path, out: Path, *, compare_tsne: bool = True) -> Reproduction:
    """All tables and figures of Kishino et al. 2026 from the authors' data, by their recipe.

    Writes into `out`: scale.csv, scale_pairs.csv, diffusion.csv, msd.csv, consecutive.csv,
    groups.csv, text_drift.csv, coordinates.csv, figure1 to figure5 as .png, .svg and .pdf,
    index.html, and store/, a store with all scores, which the other commands read. Nothing is
    written into `released`, and no network is used.

    Args:
      released: the authors' folder as cloned (kl-scale), its data/, or all files in one place.
      out: a folder, made if it is not there.
      compare_tsne: whether to compute t-SNE also where released coordinates are shown, and say how
        far the two are apart; takes a minute or more.

    Raises InputError for a folder without these files, and for one that is damaged.
    """
    from jaxmap.analysis.context import Context
    from jaxmap.analysis.notes import Note
    from jaxmap.released.convert import import_released
    from jaxmap.reports.reproduction import measure_reproduction

    out = FilePath(os.fspath(out))
    check_folder(out)
    store, imported = import_released(os.fspath(released), out / "store")
    context = Context(store, recipe="published")
    notes = tuple(Note("release", line) for line in imported.remarks)
    found = measure_reproduction(context, compare_tsne=compare_tsne, notes=notes)
    found.save(out)
    return found

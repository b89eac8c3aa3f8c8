"""From a store to tables, figures and a page: kl, scale, diffusion, make_map, report, pmi."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from jaxmap.api.arguments import Names, Path, StoreLike, open_for_reading
from jaxmap.api.contexts import context_of, saved
from jaxmap.output_paths import check_file, check_folder

if TYPE_CHECKING:
    from jaxmap.analysis.diffusion import Diffusion
    from jaxmap.analysis.kl import KlTable
    from jaxmap.analysis.maps import Atlas
    from jaxmap.analysis.pmi import PmiStore
    from jaxmap.analysis.scale import Scale
    from jaxmap.reports.page import Report


def kl(
    store: StoreLike, *, out: Path | None = None, pairs: str = "all", base: str | None = None
) -> KlTable:
    """KL divergence between models of a store, in bits per byte, with standard errors.

    KL(a, b) = Var(log-likelihood of a - that of b) / (2 x mean bytes x ln 2), and its standard
    error with the texts as the sample (Oyama et al. 2025, Kishino et al. 2026). Scores are taken as
    they are, not cleaned. All pairs are in memory; `write_kl` writes tables of thousands of
    models in bounded memory.

    Args:
      store: a store or its folder.
      out: a file to write as well, as of `write_kl`.
      pairs: "all", each unordered pair once; "consecutive", neighbouring checkpoints of each
        training run; or "A:B", two names.
      base: the name of one model: only the pairs of it and each other, model_a being the base.

    Raises InputError when the store holds no such pair.
    """
    from jaxmap.analysis.kl import measure_kl

    if out is not None:
        write_kl(store, out, pairs=pairs, base=base)
    return measure_kl(context_of(store), pairs, base)


def write_kl(store: StoreLike, out: Path, *, pairs: str = "all", base: str | None = None) -> int:
    """Writes KL divergences of a store to a file in bounded memory; returns how many pairs.

    Args:
      store: a store or its folder.
      out: a .csv with one row per pair: model_a, model_b, kl_bits_per_byte, standard_error; or a
        .npy, a symmetric matrix of all pairs, with the labels of its rows in OUT.models.txt.
      pairs, base: as of `kl`.
    """
    from jaxmap.analysis import kl_files

    check_file(out, *kl_files.ENDINGS)
    return kl_files.write_kl(open_for_reading(store), out, pairs, base)


def scale(
    store: StoreLike,
    *,
    out: Path | None = None,
    warmup_steps: int | None = None,
    parents: Path | None = None,
    leave_out: Names = (),
    recipe: str = "auto",
) -> Scale:
    """KL in the ten settings of Kishino et al. 2026, from neighbouring checkpoints to random pairs.

    `save` writes scale.csv, scale_pairs.csv and figure 3.

    Args:
      store: a store or its folder.
      out: a folder to save the result in.
      warmup_steps: training steps that count as warmup; None: 2,000 as published for Pythia, or a
        tenth of a run that has fewer than three checkpoints from there on.
      parents: a .json file of child -> parent that is used instead of the model cards on the Hub.
      leave_out: kinds of suspect checkpoints to leave out of runs: "off", off both neighbours;
        "restart", abandoned when the run went back; "same", as the one before. `status` names them.
      recipe: how scores are cleaned and pairs chosen: "jaxmap", "published" (as the authors of the
        paper have it), or "auto", which is the published one for a store of their released data.

    Raises InputError for a store in which no setting can be filled.
    """
    from jaxmap.analysis.scale import measure_scale

    if out is not None:
        check_folder(out)
    context = context_of(
        store,
        warmup_steps=warmup_steps,
        parents=parents,
        leave_out=leave_out,
        recipe=recipe,
    )
    return saved(measure_scale(context), out)


def diffusion(
    store: StoreLike,
    *,
    out: Path | None = None,
    warmup_steps: int | None = None,
    start_from: int | None = None,
    window: int | None = None,
    time: str = "auto",
    stages: str = "apart",
    runs_file: Path | None = None,
    leave_out: Names = (),
    recipe: str = "auto",
) -> Diffusion:
    """How KL, and the distance of weights where the store has it, grows with training steps.

    Exponent 1 is Brownian motion, less is subdiffusive. `save` writes diffusion.csv, msd.csv,
    consecutive.csv and figures 4 and 5.

    Args:
      store: a store or its folder.
      out: a folder to save the result in.
      warmup_steps: training steps that count as warmup; None: 2,000 as published for Pythia, or a
        tenth of a run that has fewer than three checkpoints from there on.
      start_from: the first step from which an exponent is measured; None: 1,000 as published, or a
        quarter of the warmup of a run that is too short for that.
      window: saved checkpoints after the start that enter an exponent; None: 10 as published, or
        5 or the most that fit where all runs are too short for that.
      time: the axis of runs: "steps"; "tokens", from names or `runs_file`; "auto": steps, or tokens
        if only these are known.
      stages: "apart", or "joined": a run that continues another (stage2 after stage1, or as given
        in `runs_file`) is counted from the start of the other, and drawn as one line with it or as
        a branch.
      runs_file: a .toml or .json file of facts about runs that names lack (docs/runs.md), in
        addition to those in the store.
      leave_out: as of `scale`.
      recipe: as of `scale`.

    Raises InputError for a store without a run that is long enough.
    """
    from jaxmap.analysis.diffusion import measure_diffusion

    if out is not None:
        check_folder(out)
    context = context_of(
        store,
        warmup_steps=warmup_steps,
        time=time,
        stages=stages,
        runs_file=runs_file,
        leave_out=leave_out,
        recipe=recipe,
    )
    return saved(measure_diffusion(context, start_from=start_from, window=window), out)


def make_map(
    store: StoreLike,
    *,
    out: Path | None = None,
    warmup_steps: int | None = None,
    parents: Path | None = None,
    time: str = "auto",
    stages: str = "apart",
    runs_file: Path | None = None,
    leave_out: Names = (),
    recipe: str = "auto",
) -> Atlas:
    """The maps that a store can fill, each as t-SNE and as principal components.

    `save` writes coordinates.csv, path_statistics.csv and the figures: training runs, models with
    their 8-bit and 4-bit versions, parents and children, layers, and KL between checkpoints in a
    row (figures 1, 2 and 4 of Kishino et al. 2026).

    Args:
      store: a store or its folder.
      out: a folder to save the result in.
      warmup_steps: training steps that count as warmup; None: 2,000 as published for Pythia, or a
        tenth of a run that has fewer than three checkpoints from there on.
      parents: a .json file of child -> parent that is used instead of the model cards on the Hub.
      time, stages, runs_file, leave_out: as of `diffusion`.
      recipe: as of `scale`.

    Raises InputError for a store that fills no map.
    """
    from jaxmap.analysis.map_selection import make_atlas, require_maps

    if out is not None:
        check_folder(out)
    context = context_of(
        store,
        warmup_steps=warmup_steps,
        parents=parents,
        time=time,
        stages=stages,
        runs_file=runs_file,
        leave_out=leave_out,
        recipe=recipe,
    )
    return saved(require_maps(context, make_atlas(context)), out)


def report(
    store: StoreLike,
    *,
    out: Path | None = None,
    figures: Path | None = None,
    warmup_steps: int | None = None,
    time: str = "auto",
    stages: str = "apart",
    runs_file: Path | None = None,
    leave_out: Names = (),
    recipe: str = "auto",
) -> Report:
    """One HTML page about a store, which opens offline: `write(FILE.html)` or `save(FOLDER)`.

    Parents of models are taken from the store; the Hub is not asked. What `compare` kept in the
    store has a part of its own.

    Args:
      store: a store or its folder.
      out: an .html file to write it to.
      figures: a folder for the figures of the page as .png, .svg and .pdf.
      warmup_steps: training steps that count as warmup; None: 2,000 as published for Pythia, or a
        tenth of a run that has fewer than three checkpoints from there on.
      time, stages, runs_file, leave_out: as of `diffusion`.
      recipe: as of `scale`.
    """
    from jaxmap.analysis.genealogy import ask_nobody
    from jaxmap.comparison.report_section import sections_of
    from jaxmap.reports.page import check_ending, make_report

    if out is not None:
        check_ending(FilePath(out))
        check_file(out)
    if figures is not None:
        check_folder(figures, "figures")
    context = context_of(
        store,
        warmup_steps=warmup_steps,
        time=time,
        stages=stages,
        runs_file=runs_file,
        leave_out=leave_out,
        recipe=recipe,
        ask=ask_nobody,
    )
    page = make_report(context, further=sections_of(context.store))
    if out is not None:
        page.write(FilePath(out))
    if figures is not None:
        page.save_figures(FilePath(figures))
    return page


def pmi(conditional: StoreLike, unconditional: StoreLike, out: Path) -> PmiStore:
    """Makes a store of what prompts add: log p(response | prompt) - log p(response), in nats.

    `kl`, `make_map`, `scale` and `report` work on it as on any other (Takase et al., arXiv
    2603.18593).

    Args:
      conditional: the store scored on prompts and responses.
      unconditional: the store scored on the same responses alone.
      out: the folder of the new store, made if it is not there.

    Raises InputError when responses or models do not fit together.
    """
    from jaxmap.analysis.pmi import write_pmi

    check_folder(out)
    return write_pmi(open_for_reading(conditional), open_for_reading(unconditional), out)

"""From a store to tables, figures and a page: scale, diffusion, map, report."""

from __future__ import annotations

import os
from typing import Any

from absl import flags

from jaxmap.analysis.pythia import RECIPES, STAGES, START_FROM, TIMES, WARMUP, WINDOW
from jaxmap.cli.command import (
    Command,
    define_runs_file,
    define_store,
    integer,
    string,
)
from jaxmap.cli.output import as_flags


def _define_warmup(values: flags.FlagValues) -> None:
    integer(
        values,
        "warmup_steps",
        None,
        f"Training steps that count as warmup; if unset {WARMUP:,}, as published for Pythia, or a "
        "tenth of a run that has fewer than three checkpoints from there on.",
    )


def _define_leave_out(values: flags.FlagValues) -> None:
    flags.DEFINE_list(
        "leave_out",
        [],
        "Comma-separated kinds of suspect checkpoints to leave out of runs: off (both neighbours), "
        "restart (abandoned when the run went back), same (as the one before). `jaxmap status` "
        "names them.",
        flag_values=values,
    )


def _define_axis(values: flags.FlagValues) -> None:
    flags.DEFINE_enum(
        "time",
        "auto",
        list(TIMES),
        "The axis of training runs. tokens: from names or --runs_file. auto: steps, or tokens if "
        "only these are known.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "stages",
        "apart",
        list(STAGES),
        "joined: a run that continues another (stage2 after stage1, or as given in --runs_file) is "
        "counted from the start of the other, and drawn as one line with it or as a branch.",
        flag_values=values,
    )
    define_runs_file(values, "They are used in addition to those in the store.")
    _define_leave_out(values)


def _axis(values: flags.FlagValues) -> dict[str, Any]:
    return dict(
        time=values.time,
        stages=values.stages,
        runs_file=values.runs_file or None,
        leave_out=values.leave_out,
    )


def _define_parents(values: flags.FlagValues) -> None:
    string(values, "parents", None, "A .json of child -> parent, instead of the model cards.")


def _define_recipe(values: flags.FlagValues) -> None:
    flags.DEFINE_enum(
        "recipe",
        "auto",
        list(RECIPES),
        "How scores are cleaned and pairs chosen. jaxmap: all runs, and all models, together. "
        "published: as the authors of the paper have it, group by group. auto: published for a "
        "store that was imported from their released data, else jaxmap.",
        flag_values=values,
    )


def _define_scale(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The folder for scale.csv, scale_pairs.csv and figure 3.")
    _define_warmup(values)
    _define_recipe(values)
    _define_parents(values)
    _define_leave_out(values)


def _scale(values: flags.FlagValues) -> int:
    from jaxmap.api.analyses import scale

    found = scale(
        values.store,
        out=values.out,
        warmup_steps=values.warmup_steps,
        parents=values.parents or None,
        recipe=values.recipe,
        leave_out=values.leave_out,
    )
    print(as_flags(found.text(), list(values)), end="")
    return 0


def _define_diffusion(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The folder for diffusion.csv, msd.csv and figures 4 and 5.")
    _define_warmup(values)
    _define_recipe(values)
    _define_axis(values)
    _define_exponents(values)


def _define_exponents(values: flags.FlagValues) -> None:
    integer(
        values,
        "start_from",
        None,
        f"The first step from which an exponent is measured; if unset {START_FROM:,}, or a quarter "
        "of the warmup of a run that is too short for that.",
    )
    integer(
        values,
        "window",
        None,
        f"Saved checkpoints after the start that enter an exponent; if unset {WINDOW}, or fewer "
        "where all runs are too short for that.",
    )


def _diffusion(values: flags.FlagValues) -> int:
    from jaxmap.api.analyses import diffusion

    found = diffusion(
        values.store,
        out=values.out,
        warmup_steps=values.warmup_steps,
        start_from=values.start_from,
        window=values.window,
        recipe=values.recipe,
        **_axis(values),
    )
    print(f"{found.recipe} recipe, group: {found.group}")
    for note in found.notes:
        print(as_flags(str(note), list(values)))
    print(f"exponents in {os.path.join(values.out, 'diffusion.csv')}")
    return 0


def _define_dynamics(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The folder for dynamics.csv and the figures.")
    string(values, "texts", None, "The store's file of texts, where --by is given.")
    string(
        values,
        "by",
        None,
        "The field of the texts that names their domain, such as source or meta.pile_set_name: "
        "what is measured is measured for each domain too.",
    )
    _define_warmup(values)
    _define_recipe(values)
    _define_axis(values)
    _define_exponents(values)


def _dynamics(values: flags.FlagValues) -> int:
    from jaxmap.api.training import dynamics

    found = dynamics(
        values.store,
        out=values.out,
        texts=values.texts or None,
        by=values.by or None,
        warmup_steps=values.warmup_steps,
        start_from=values.start_from,
        window=values.window,
        recipe=values.recipe,
        **_axis(values),
    )
    for note in found.notes:
        print(as_flags(str(note), list(values)))
    print(f"{len(found.series)} series in {os.path.join(values.out, 'dynamics.csv')}")
    return 0


def _define_map(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The folder for coordinates.csv, path_statistics.csv and figures.")
    _define_warmup(values)
    _define_axis(values)
    _define_recipe(values)
    _define_parents(values)


def _map(values: flags.FlagValues) -> int:
    from jaxmap.api.analyses import make_map
    from jaxmap.outputs import check_folder

    check_folder(values.out)
    atlas = make_map(
        values.store,
        warmup_steps=values.warmup_steps,
        parents=values.parents or None,
        recipe=values.recipe,
        **_axis(values),
    )
    print(f"{len(atlas.save(values.out))} files written")
    print(as_flags(atlas.text(), list(values)), end="")
    return 0


def _define_report(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The .html to write; one file that opens offline.")
    string(
        values,
        "figures",
        None,
        "A folder for the figures of the page as .png, .svg and .pdf; none are written if unset.",
    )
    _define_warmup(values)
    _define_axis(values)
    _define_recipe(values)


def _report(values: flags.FlagValues) -> int:
    from pathlib import Path

    from jaxmap.api.analyses import report
    from jaxmap.outputs import check_file, check_folder
    from jaxmap.reports.page import check_ending

    check_ending(Path(values.out))
    check_file(values.out)
    if values.figures:
        check_folder(values.figures, "figures")
    page = report(
        values.store,
        warmup_steps=values.warmup_steps,
        recipe=values.recipe,
        **_axis(values),
    )
    size = page.write(values.out).stat().st_size
    print(f"report in {values.out} ({size / 1e6:.1f} MB)")
    if values.figures:
        files = page.save_figures(values.figures)
        print(f"{len(files)} files in {values.figures}")
    return 0


COMMANDS = {
    "scale": Command(
        "KL in the ten settings of the paper: table and figure 3",
        """Measures KL between models in ten settings, from neighbouring checkpoints to random
pairs, as far as the store can fill them, and says why where it cannot.

  jaxmap scale --store=runs --out=scale
  jaxmap scale --store=published --out=scale --recipe=published
""",
        _define_scale,
        _scale,
        required=("store", "out"),
    ),
    "diffusion": Command(
        "how training moves: consecutive KL and diffusion exponents",
        """Fits how KL (and the distance of weights, where the store has it) grows with the number
of steps: exponent 1 is Brownian motion, less is subdiffusive. Figures 4 and 5.

  jaxmap diffusion --store=runs --out=diffusion
""",
        _define_diffusion,
        _diffusion,
        required=("store", "out"),
    ),
    "dynamics": Command(
        "speed, turns, KL to the end and between seeds, exponents; each with an error",
        """Measures how training runs move: speed, turns and curvature of their paths, KL to the
last checkpoint, mean KL between seeds at equal times, exponents in both spaces and their
difference. Definitions, sources and standard errors are in docs/dynamics.md.

  jaxmap dynamics --store=runs --out=dynamics
  jaxmap dynamics --store=runs --out=dynamics --texts=texts.jsonl --by=pile_set_name
""",
        _define_dynamics,
        _dynamics,
        required=("store", "out"),
    ),
    "map": Command(
        "maps of models, checkpoints and layers, and the shapes of training paths",
        """Draws what the store can fill of figures 1, 2 and 4 of Kishino et al. 2026: training
runs, models with their 8-bit and 4-bit versions, parents and children, layers, and KL between
checkpoints in a row. Each map twice: t-SNE as published, and principal components. Writes also
coordinates.csv and path_statistics.csv (length, straightness, and turns with a Brownian null).

  jaxmap map --store=runs --out=map
""",
        _define_map,
        _map,
        required=("store", "out"),
    ),
    "report": Command(
        "one HTML page about a store",
        """One file that opens offline: the map (zoom, hover, search, a slider over training steps),
KL between all models, what was learnt, the scale of KL, diffusion, what was left out and why. Most
of its size is plotly.js (4.7 MB), which is inside it.

  jaxmap report --store=runs --out=report.html
  jaxmap report --store=runs --out=report.html --figures=figures      its figures as files too
""",
        _define_report,
        _report,
        required=("store", "out"),
    ),
}

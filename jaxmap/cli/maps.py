"""From a store to figures and a page: map, report."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.analysis_options import (
    axis_options,
    define_axis,
    define_parents,
    define_recipe,
    define_warmup,
)
from jaxmap.cli.command import Command, define_store, string
from jaxmap.cli.output import as_flags, files_in


def _define_map(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The folder for coordinates.csv, path_statistics.csv and figures.")
    define_warmup(values)
    define_axis(values)
    define_recipe(values)
    define_parents(values)


def _map(values: flags.FlagValues) -> int:
    from jaxmap.api.analyses import make_map
    from jaxmap.output_paths import check_folder

    check_folder(values.out)
    atlas = make_map(
        values.store,
        warmup_steps=values.warmup_steps,
        parents=values.parents or None,
        recipe=values.recipe,
        **axis_options(values),
    )
    written = atlas.save(values.out)
    print(as_flags(atlas.text(), list(values)), end="")
    print(files_in(values.out, written))
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
    define_warmup(values)
    define_axis(values)
    define_recipe(values)


def _report(values: flags.FlagValues) -> int:
    from pathlib import Path

    from jaxmap.api.analyses import report
    from jaxmap.output_paths import check_file, check_folder
    from jaxmap.reports.page import check_ending

    check_ending(Path(values.out))
    check_file(values.out)
    if values.figures:
        check_folder(values.figures, "figures")
    page = report(
        values.store,
        warmup_steps=values.warmup_steps,
        recipe=values.recipe,
        **axis_options(values),
    )
    size = page.write(values.out).stat().st_size
    print(f"report in {values.out} ({size / 1e6:.1f} MB)")
    if values.figures:
        print(files_in(values.figures, page.save_figures(values.figures)))
    return 0


COMMANDS = {
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

"""From a store to tables, figures and a page: scale, diffusion, map, report."""

from __future__ import annotations

import os

from absl import flags

from jaxmap.cli.command import Command, define_store, integer, required, string


def _define_scale(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The folder for scale.csv, scale_pairs.csv and figure 3.")
    integer(values, "warmup_steps", 2000, "Training steps that count as warmup.")
    string(values, "parents", None, "A .json of child -> parent, instead of the model cards.")


def _scale(values: flags.FlagValues) -> int:
    required(values, "store", "out")
    from jaxmap.analysis.scale import write_scale
    from jaxmap.store import Store

    store = Store.open(values.store)
    scale = write_scale(
        store, values.out, warmup=values.warmup_steps, parents=values.parents or None
    )
    print(scale.text(), end="")
    return 0


def _define_diffusion(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The folder for diffusion.csv, msd.csv and figures 4 and 5.")
    integer(values, "warmup_steps", 2000, "Training steps that count as warmup.")
    integer(values, "start_from", 1000, "The first step from which an exponent is measured.")
    integer(values, "window", 10, "Saved checkpoints after the start that enter an exponent.")


def _diffusion(values: flags.FlagValues) -> int:
    required(values, "store", "out")
    from jaxmap.analysis.diffusion import write_diffusion
    from jaxmap.store import Store

    found = write_diffusion(
        Store.open(values.store),
        values.out,
        warmup=values.warmup_steps,
        start_from=values.start_from,
        window=values.window,
    )
    for note in found.notes:
        print(note)
    print(f"exponents in {os.path.join(values.out, 'diffusion.csv')}")
    return 0


def _define_map(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The folder for coordinates.csv, path_statistics.csv and figures.")
    integer(values, "warmup_steps", 2000, "Training steps that count as warmup.")
    string(values, "parents", None, "A .json of child -> parent, instead of the model cards.")


def _map(values: flags.FlagValues) -> int:
    required(values, "store", "out")
    from jaxmap.analysis.map_files import draw_map
    from jaxmap.store import Store

    drawn = draw_map(
        Store.open(values.store),
        values.out,
        warmup=values.warmup_steps,
        parents=values.parents or None,
    )
    print(drawn.text(), end="")
    return 0


def _define_report(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The .html to write; one file that opens offline.")
    integer(values, "warmup_steps", 2000, "Training steps that count as warmup.")


def _report(values: flags.FlagValues) -> int:
    required(values, "store", "out")
    from jaxmap.reports.page import write_report
    from jaxmap.store import Store

    page = write_report(Store.open(values.store), values.out, warmup=values.warmup_steps)
    print(f"report in {values.out} ({page.stat().st_size / 1e6:.1f} MB)")
    return 0


COMMANDS = {
    "scale": Command(
        "KL in the ten settings of the paper: table and figure 3",
        """Measures KL between models in ten settings, from neighbouring checkpoints to random
pairs, as far as the store can fill them, and says why where it cannot.

  jaxmap scale --store=runs --out=scale
""",
        _define_scale,
        _scale,
    ),
    "diffusion": Command(
        "how training moves: consecutive KL and diffusion exponents",
        """Fits how KL (and the distance of weights, where the store has it) grows with the number
of steps: exponent 1 is Brownian motion, less is subdiffusive. Figures 4 and 5.

  jaxmap diffusion --store=runs --out=diffusion
""",
        _define_diffusion,
        _diffusion,
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
    ),
    "report": Command(
        "one HTML page about a store",
        """One file that opens offline: the map (zoom, hover, search, a slider over training steps),
KL between all models, what was learnt, the scale of KL, diffusion, what was left out and why. Most
of its size is plotly.js (4.7 MB), which is inside it.

  jaxmap report --store=runs --out=report.html
""",
        _define_report,
        _report,
    ),
}

"""Commands about training runs: diffusion, dynamics."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.analysis_options import (
    axis_options,
    define_axis,
    define_exponents,
    define_recipe,
    define_warmup,
)
from jaxmap.cli.command import Command, define_store, string
from jaxmap.cli.output import as_flags, files_in


def _define_diffusion(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The folder for diffusion.csv, msd.csv and figures 4 and 5.")
    define_warmup(values)
    define_recipe(values)
    define_axis(values)
    define_exponents(values)


def _diffusion(values: flags.FlagValues) -> int:
    from jaxmap.api.analyses import diffusion
    from jaxmap.output_paths import check_folder

    check_folder(values.out)
    found = diffusion(
        values.store,
        warmup_steps=values.warmup_steps,
        start_from=values.start_from,
        window=values.window,
        recipe=values.recipe,
        **axis_options(values),
    )
    written = found.save(values.out)
    print(f"{found.recipe} recipe, group: {found.group}")
    for note in found.notes:
        print(as_flags(str(note), list(values)))
    print(files_in(values.out, written))
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
    define_warmup(values)
    define_recipe(values)
    define_axis(values)
    define_exponents(values)


def _dynamics(values: flags.FlagValues) -> int:
    from jaxmap.api.dynamics import dynamics
    from jaxmap.output_paths import check_folder

    check_folder(values.out)
    found = dynamics(
        values.store,
        texts=values.texts or None,
        by=values.by or None,
        warmup_steps=values.warmup_steps,
        start_from=values.start_from,
        window=values.window,
        recipe=values.recipe,
        **axis_options(values),
    )
    written = found.save(values.out)
    for note in found.notes:
        print(as_flags(str(note), list(values)))
    print(files_in(values.out, written))
    return 0


COMMANDS = {
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
}

"""The command scale: KL in the settings of the paper."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.analysis_options import (
    define_leave_out,
    define_parents,
    define_recipe,
    define_warmup,
)
from jaxmap.cli.command import Command, define_store, string
from jaxmap.cli.output import as_flags, files_in


def _define_scale(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "out", None, "The folder for scale.csv, scale_pairs.csv and figure 3.")
    define_warmup(values)
    define_recipe(values)
    define_parents(values)
    define_leave_out(values)


def _scale(values: flags.FlagValues) -> int:
    from jaxmap.api.analyses import scale
    from jaxmap.output_paths import check_folder

    check_folder(values.out)
    found = scale(
        values.store,
        warmup_steps=values.warmup_steps,
        parents=values.parents or None,
        recipe=values.recipe,
        leave_out=values.leave_out,
    )
    written = found.save(values.out)
    print(as_flags(found.text(), list(values)), end="")
    print(files_in(values.out, written))
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
}

"""Flags that the commands on a store share: warmup, axis of training runs, recipe, parents."""

from __future__ import annotations

from typing import Any

from absl import flags

from jaxmap.analysis.pythia import RECIPES, STAGES, START_FROM, TIMES, WARMUP, WINDOW
from jaxmap.cli.command import define_runs_file, integer, string


def define_warmup(values: flags.FlagValues) -> None:
    """Defines --warmup_steps."""
    integer(
        values,
        "warmup_steps",
        None,
        f"Training steps that count as warmup; if unset {WARMUP:,}, as published for Pythia, or a "
        "tenth of a run that has fewer than three checkpoints from there on.",
    )


def define_leave_out(values: flags.FlagValues) -> None:
    """Defines --leave_out."""
    flags.DEFINE_list(
        "leave_out",
        [],
        "Comma-separated kinds of suspect checkpoints to leave out of runs: off (both neighbours), "
        "restart (abandoned when the run went back), same (as the one before). `jaxmap status` "
        "names them.",
        flag_values=values,
    )


def define_axis(values: flags.FlagValues) -> None:
    """Defines the flags of the axis of training runs, and --leave_out."""
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
    define_leave_out(values)


def axis_options(values: flags.FlagValues) -> dict[str, Any]:
    """The values of the flags of `define_axis`, as arguments of the functions."""
    return dict(
        time=values.time,
        stages=values.stages,
        runs_file=values.runs_file or None,
        leave_out=values.leave_out,
    )


def define_parents(values: flags.FlagValues) -> None:
    """Defines --parents."""
    string(values, "parents", None, "A .json of child -> parent, instead of the model cards.")


def define_recipe(values: flags.FlagValues) -> None:
    """Defines --recipe."""
    flags.DEFINE_enum(
        "recipe",
        "auto",
        list(RECIPES),
        "How scores are cleaned and pairs chosen. jaxmap: all runs, and all models, together. "
        "published: as the authors of the paper have it, group by group. auto: published for a "
        "store that was imported from their released data, else jaxmap.",
        flag_values=values,
    )


def define_exponents(values: flags.FlagValues) -> None:
    """Defines --start_from and --window, from which exponents are measured."""
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

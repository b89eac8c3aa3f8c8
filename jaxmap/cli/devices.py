"""Flags of the commands that score, on many devices and in several processes."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.command import integer, string

# Which process of a job this is; the others' differ.
OF_THE_PROCESS = ("process_id",)


def define_devices(values: flags.FlagValues) -> None:
    """Defines the flags of devices and processes: --mesh, --distributed and the addresses."""
    string(
        values,
        "mesh",
        None,
        "Devices per axis: data=4,model=2 cuts each batch in four and each model in two; fsdp=2 "
        "cuts weights and batch. auto, the default where there are several devices: model as "
        "small as memory allows, the rest data.",
    )
    flags.DEFINE_boolean(
        "distributed",
        False,
        "This is one of several processes that score each model together, as JAX finds out (srun, "
        "TPU pods, GKE, Open MPI). The first one writes all records.",
        flag_values=values,
    )
    string(
        values,
        "coordinator_address",
        None,
        "Elsewhere: host:port of the first of the processes, with the two flags below.",
    )
    integer(values, "num_processes", None, "How many there are.")
    integer(values, "process_id", None, "Which one this is, from 0.")

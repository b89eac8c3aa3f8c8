"""`jaxmap plan`: what scoring a model will need."""

from __future__ import annotations

from absl import flags

from jaxmap.cli import exit_codes
from jaxmap.cli.command import (
    Command,
    define_batch_tokens,
    define_dtype,
    define_ignored_keys,
    integer,
    string,
)


def _define_plan(values: flags.FlagValues) -> None:
    string(
        values,
        "model",
        None,
        "org/name, org/name@revision or a folder, of which config.json suffices; a GGUF file on "
        "disk. The memory of a copy in codes is that of its codes if its files are there.",
    )
    string(
        values,
        "topology",
        None,
        "Devices to compile for, none needed: TPUs v5e:4x4, v5p:2x2x4, v4:.., v6e:.., or GPUs of "
        "one host, a100:8, h100:8, h200:8, b200:8; the devices of this machine if unset.",
    )
    string(values, "mesh", "auto", "Devices per axis, data=4,model=4, or auto.")
    define_dtype(values)
    flags.DEFINE_boolean("lens", False, "Read every layer.", flag_values=values)
    define_batch_tokens(values)
    flags.DEFINE_boolean(
        "largest_batch", True, "Look for the largest batch that fits.", flag_values=values
    )
    integer(values, "n", 10_000, "How many texts the times are for.")
    integer(values, "tokens", 270, "Tokens per text.")
    string(values, "out", None, "A .jsonl to which the figures are added, one line per plan.")
    define_ignored_keys(values)


def _plan(values: flags.FlagValues) -> int:
    from jaxmap.api.planning import plan

    found = plan(
        values.model,
        topology=values.topology,
        mesh=values.mesh,
        dtype=values.dtype,
        lens=values.lens,
        batch_tokens=values.batch_tokens,
        largest_batch=values.largest_batch,
        n=values.n,
        tokens=values.tokens,
        out=values.out,
        ignore_config_keys=values.ignore_config_keys,
    )
    print(found.text(), end="")
    return exit_codes.DONE if found.fits else exit_codes.FAILURE


COMMANDS = {
    "plan": Command(
        "memory and time that a model needs, on devices of this machine or elsewhere",
        """Compiles the scoring of a model ahead of time, for the devices of this machine or for
TPUs or GPUs that are elsewhere (that needs their compiler, pip install 'jax[tpu]' or
'jax[cuda13]', and no device), and prints the memory of a device against its limit, the largest
batch that fits, the arithmetic, the least time that the texts can take (the roofline) and, for
devices that are elsewhere, the time that the operations of the compiled program add up to. Exit
code 1: it does not fit.

  jaxmap plan --model=EleutherAI/pythia-12b --topology=v5e:4x4 --mesh=data=4,model=4
  jaxmap plan --model=EleutherAI/pythia-12b --topology=h100:8
  jaxmap plan --model=./my-model
""",
        _define_plan,
        _plan,
        required=("model", "mesh"),
        former={"texts": "n"},
    ),
}

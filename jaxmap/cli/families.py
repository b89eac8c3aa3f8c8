"""`jaxmap families`: what can be scored."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.command import Command, string


def _define_families(values: flags.FlagValues) -> None:
    string(values, "find", "", "Only the types whose name contains this.")


def _families(values: flags.FlagValues) -> int:
    from jaxmap.api.planning import families
    from jaxmap.cli.output import as_flags

    print(as_flags(families(find=values.find).text(), ["engine"]), end="")
    return 0


COMMANDS = {
    "families": Command(
        "the architectures that can be scored",
        """Lists the values of model_type in config.json that are known: how many models of the
published map of 1,018 each covers, what its layers are made of, how far its scores were from
PyTorch's when the parity tests last ran, whether it can be quantised and cut over devices, and
the papers to cite; then the types of transformers that have no page here, each with the reason.

  jaxmap families --find=qwen
""",
        _define_families,
        _families,
    ),
}

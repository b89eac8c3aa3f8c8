"""`jaxmap demo`: all steps, on models that are trained here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from absl import flags

from jaxmap.cli import exit_codes
from jaxmap.cli.command import Command, string
from jaxmap.cli.config_flag import define_config


def _define_demo(values: flags.FlagValues) -> None:
    string(values, "out", None, "The folder for models, store, figures and report.html.")
    define_config(
        values,
        "Other numbers than the default's: configs/demo.py; --config.FIELD=VALUE sets one of them.",
        _check_config,
    )


def _check_config(where: str, values: dict[str, Any], given: list[str]) -> None:
    from jaxmap.demos.settings import from_dict
    from jaxmap.sweeps.settings import refuse_unknown

    plain = {name: _plain(value) for name, value in values.items()}
    from_dict(plain)
    refuse_unknown(given, _names(plain), where)


def _plain(value: Any) -> Any:
    return value.to_dict() if hasattr(value, "to_dict") else value


def _names(values: Mapping[str, Any], prefix: str = "") -> list[str]:
    """All fields, those of nested ones with dots."""
    names = []
    for name, value in values.items():
        names.append(prefix + name)
        if isinstance(value, Mapping):
            names += _names(value, f"{prefix}{name}.")
    return names


def _demo(values: flags.FlagValues) -> int:
    from jaxmap.api.demonstration import demo

    run = demo(values.out, config=values.config)
    print(run.text(), end="")
    return exit_codes.first_of(map(exit_codes.of_outcome, run.outcomes))


COMMANDS = {
    "demo": Command(
        "train a Pythia in miniature and map its checkpoints",
        """Trains five small GPT-NeoX models on the documentation and source of this Python, saves
their checkpoints as Hugging Face folders, fine-tunes the largest (all weights, and a LoRA adapter)
and writes the smallest as GGUF files. Every one is scored, the last ones also layer by layer, in 8
and 4 bit and in other precisions. The largest is compared token by token with its copies and its
fine-tune (comparison/). Figures and a report show the results. A few minutes on two cores; run it
again after an interruption and it resumes.

  jaxmap demo --out=demo
  jaxmap demo --out=demo-long --config=configs/demo.py --config.steps=4096 --config.seeds=5
""",
        _define_demo,
        _demo,
        required=("out",),
    ),
}

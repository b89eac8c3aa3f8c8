"""`jaxmap demo`: the whole way on models trained on the spot."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.command import Command, required, string


def _define_demo(values: flags.FlagValues) -> None:
    string(values, "out", None, "The folder for models, store, figures and report.html.")


def _demo(values: flags.FlagValues) -> int:
    required(values, "out")
    from jaxmap import runtime

    runtime.prepare()
    from jaxmap.demo.run import run_demo

    return run_demo(values.out)


COMMANDS = {
    "demo": Command(
        "train a Pythia in miniature and map its checkpoints",
        """Trains five small GPT-NeoX models on the documentation and source of this Python, saves
their checkpoints as Hugging Face folders, scores every one, and writes figures and a report. A few
minutes on two cores; run it again after an interruption and it goes on.

  jaxmap demo --out=demo
""",
        _define_demo,
        _demo,
    ),
}

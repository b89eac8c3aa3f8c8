"""`jaxmap verify`: this engine's scores compared with PyTorch's, on the user's own machine."""

from __future__ import annotations

from absl import flags

from jaxmap.cli import exit_codes
from jaxmap.cli.command import (
    MODELS,
    Command,
    define_ignored_keys,
    define_models,
    define_texts,
    integer,
    string,
)
from jaxmap.cli.output import as_flags
from jaxmap.errors import InputError


def _define(values: flags.FlagValues) -> None:
    define_models(values)
    define_texts(values)
    integer(values, "n", 20, "How many of the texts are scored, evenly spaced.")
    integer(
        values,
        "double",
        3,
        "How many of these PyTorch scores in float64 too, at every layer, to see which side is "
        "nearer to it.",
    )
    flags.DEFINE_boolean(
        "lens", True, "Compare every layer too, through the logit lens.", flag_values=values
    )
    string(values, "out", None, "A .csv with one row per text and layer.")
    define_ignored_keys(values)


def _run(values: flags.FlagValues) -> int:
    from jaxmap.api.verification import verify

    found = verify(
        values.models,
        values.texts,
        models_file=values.models_file,
        n=values.n,
        double=values.double,
        lens=values.lens,
        out=values.out,
        ignore_config_keys=values.ignore_config_keys,
    )
    print(as_flags(found.text(failures=False), list(values)), end="")
    if not all(one.agrees for one in found.verified):
        return exit_codes.FAILURE
    return exit_codes.of_kinds(isinstance(error, InputError) for _, error in found.failures)


COMMANDS = {
    "verify": Command(
        "this machine's scores beside PyTorch's, at every layer",
        """Scores some texts with this engine and with transformers on PyTorch, both in float32,
and says by how much they differ, which of the two is nearer to float64, and how long each took. Run
it before you trust a new model; it is also what a bug report should contain. A text may differ by
2e-3 nats plus 2e-5 of its score, which is what rounding amounts to, and a layer by twice that.

Exit codes: 0 all models agree; 1 one differs; 2 one could not be loaded.

  jaxmap verify --models=EleutherAI/pythia-70m --texts=texts.jsonl
  jaxmap verify --models=./my-model --texts=texts.jsonl --n=5 --out=verify.csv
""",
        _define,
        _run,
        required=("texts",),
        one_of=(MODELS,),
    ),
}

"""`jaxmap floor`: how much of a difference between models is only arithmetic."""

from __future__ import annotations

from absl import flags

from jaxmap.cli import exit_codes
from jaxmap.cli.command import (
    MODELS,
    Command,
    define_batch_tokens,
    define_ignored_keys,
    define_models,
    define_store,
    define_texts,
    string,
)
from jaxmap.cli.output import as_flags
from jaxmap.cli.sweep import command_line
from jaxmap.precision import COMPARED, REFERENCE


def _define_floor(values: flags.FlagValues) -> None:
    define_store(values, made=True)
    define_texts(values)
    define_models(values)
    flags.DEFINE_list(
        "dtypes",
        list(COMPARED),
        f"Comma-separated: {', '.join(COMPARED)}; each is compared with {REFERENCE}.",
        flag_values=values,
    )
    string(values, "out", None, "A .csv with model, dtype, kl_bits_per_byte, standard_error.")
    define_batch_tokens(values)
    define_ignored_keys(values)


def _floor(values: flags.FlagValues) -> int:
    from jaxmap.api.floors import floor

    found = floor(
        values.models,
        values.texts,
        values.store,
        models_file=values.models_file,
        dtypes=values.dtypes,
        out=values.out,
        batch_tokens=values.batch_tokens,
        ignore_config_keys=values.ignore_config_keys,
        command=command_line(),
    )
    print(as_flags(found.text(failures=False), list(values)), end="")
    return exit_codes.of_outcome(found.outcome)


COMMANDS = {
    "floor": Command(
        "how much of a KL is only rounding: each precision beside float32",
        """Scores each checkpoint in float32 and in each of --dtypes, fetching it once, and prints
the KL divergence between the two in bits per byte (with its standard error over texts): the
precision floor. A difference between models that is not ten times larger may be rounding; `jaxmap
scale` and the report mark it, from what the store holds. What was scored before is not scored
again.

bfloat16_3x, three bfloat16 products for one of float32, is for TPUs, which multiply bfloat16 only.
There float32 is six such products, so bfloat16_3x takes three times the products of bfloat16 and
half those of float32; two times and a third where the stored weights are bfloat16. The products
are written out, so that its floor can be measured on any machine.

  jaxmap floor --store=runs --texts=texts.jsonl --models=EleutherAI/pythia-70m --out=floor.csv
""",
        _define_floor,
        _floor,
        required=("store", "texts"),
        one_of=(MODELS,),
    ),
}

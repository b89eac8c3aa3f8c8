"""`jaxmap compare`: how two models that share a tokenizer differ, token by token."""

from __future__ import annotations

from absl import flags

from jaxmap.cli import exit_codes
from jaxmap.cli.command import (
    Command,
    define_batch_tokens,
    define_dtype,
    define_ignored_keys,
    define_models,
    define_store,
    define_texts,
    required,
    required_models,
    string,
)
from jaxmap.cli.output import as_flags
from jaxmap.cli.sweep import command_line
from jaxmap.errors import InputError


def _define(values: flags.FlagValues) -> None:
    define_store(values, made=True)
    define_texts(values)
    string(values, "reference", None, "The model that the others are compared with.")
    define_models(values)
    string(values, "out", None, "A folder for compare.csv and compare.md.")
    flags.DEFINE_list(
        "quantize",
        ["none"],
        "Comma-separated: none (the model itself), int8, nf4, fp4: copies with the linear layers "
        "in 8 or 4 bit.",
        flag_values=values,
    )
    define_dtype(values)
    define_batch_tokens(values)
    define_ignored_keys(values)


def _run(values: flags.FlagValues) -> int:
    required(values, "store", "texts", "reference", "out")
    required_models(values)
    from jaxmap.api.comparing import compare

    found = compare(
        values.models,
        values.texts,
        values.store,
        reference=values.reference,
        models_file=values.models_file,
        out=values.out,
        quantize=values.quantize,
        dtype=values.dtype,
        batch_tokens=values.batch_tokens,
        ignore_config_keys=values.ignore_config_keys,
        command=command_line(),
    )
    print(as_flags(found.text(), list(values)), end="")
    return exit_codes.of_kinds(isinstance(error, InputError) for _, error in found.failures)


COMMANDS = {
    "compare": Command(
        "models beside a reference, token by token, with a table for the model card",
        """Compares models that have the tokenizer of a reference (its quantised copies, its
fine-tunes, checkpoints of its training) with it. At each token: the KL divergence of the two
next-token distributions, both ways, exact over the whole vocabulary; whether both find the same
token likeliest; both log-probabilities. compare.csv has means, quantiles and standard errors over
texts, compare.md the same as a table for a model card. Beside them stands the KL of the papers,
estimated from the variance of log-likelihoods over texts: it is another quantity, and the one that
`jaxmap kl` gives for models with any tokenizers.

Run the same command again after a crash: what is measured is kept in the store.

  jaxmap compare --store=runs --texts=texts.jsonl --reference=./model \\
      --models=./model --quantize=int8,nf4 --out=card
  jaxmap compare --store=runs --texts=texts.jsonl --reference=org/base --models=org/tuned --out=card
""",
        _define,
        _run,
    ),
}

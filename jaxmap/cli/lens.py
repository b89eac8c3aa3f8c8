"""`jaxmap lens`: trains tuned lenses; and the flag that reads layers through a lens."""

from __future__ import annotations

from absl import flags

from jaxmap.cli import exit_codes
from jaxmap.cli.command import (
    MODELS,
    Command,
    define_dtype,
    define_ignored_keys,
    define_models,
    define_texts,
    integer,
    string,
)
from jaxmap.cli.output import as_flags


def define_lens(values: flags.FlagValues) -> None:
    """--lens, --nolens, --lens=logit, --lens=tuned:DIR."""
    flag: flags.Flag = flags.Flag(
        flags.ArgumentParser(),
        flags.ArgumentSerializer(),
        "lens",
        "false",
        "Score every layer too: --lens or --lens=logit through the model's own norm and head, "
        "--lens=tuned:DIR through what `jaxmap lens train --out=DIR` has learnt.",
        boolean=True,  # so that it may stand without a value
    )
    flags.DEFINE_flag(flag, values)


def _define(values: flags.FlagValues) -> None:
    define_models(values)
    define_texts(
        values,
        "Use other texts than those that you will score; otherwise the lens has seen the answers.",
    )
    string(values, "out", None, "The folder of lenses: one folder per model is added to it.")
    integer(values, "steps", 250, "Number of updates.")
    flags.DEFINE_float(
        "learning_rate",
        1e-3,
        "AdamW's learning rate at its peak, after a tenth of the steps; then it falls to 0.",
        flag_values=values,
    )
    integer(values, "batch_tokens", 4096, "Tokens per batch.")
    integer(values, "seed", 0, "Seed of the held-out split and the order of training texts.")
    flags.DEFINE_float(
        "held_out",
        0.1,
        "Share of the texts kept from training: what the lens is worth is measured on them.",
        flag_values=values,
    )
    define_dtype(values, "Lenses are float32.")
    flags.DEFINE_float(
        "save_every",
        60.0,
        "Seconds between two saves of the state that a killed training resumes from; 0: every "
        "step.",
        lower_bound=0.0,
        flag_values=values,
    )
    define_ignored_keys(values)


def _run(values: flags.FlagValues) -> int:
    from jaxmap.api.lenses import train_lens
    from jaxmap.errors import InputError

    lenses = train_lens(
        values.models,
        values.texts,
        values.out,
        models_file=values.models_file,
        steps=values.steps,
        learning_rate=values.learning_rate,
        batch_tokens=values.batch_tokens,
        seed=values.seed,
        held_out=values.held_out,
        dtype=values.dtype,
        save_every=values.save_every,
        ignore_config_keys=values.ignore_config_keys,
    )
    print(as_flags(lenses.text(failures=False), list(values)), end="")
    return exit_codes.of_kinds(isinstance(error, InputError) for _, error in lenses.failures)


COMMANDS = {
    "lens": Command(
        "trains a tuned lens for each model",
        """Trains, for each model, one affine map per layer that brings what the layer predicts to
what the model predicts (the tuned lens, Belrose et al. 2023, arXiv:2303.08112), and measures it and
the logit lens on held-out texts. Run the same command again after a crash: a training resumes where
it was saved, and what is done is not done again. Score with it:

  jaxmap lens train --models=EleutherAI/pythia-70m --texts=train.jsonl --out=lenses
  jaxmap score --store=runs --texts=texts.jsonl --models=EleutherAI/pythia-70m \\
      --lens=tuned:lenses

Each model has a folder in DIR: lens.json says what it is and what it is worth,
translators.safetensors holds weight [L, D, D] and bias [L, D] of h + weight h + bias.
""",
        _define,
        _run,
        words=("train",),
        required=("texts", "out"),
        one_of=(MODELS,),
    ),
}

"""`jaxmap score`: models to a store."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.command import (
    MODELS,
    OTHER_NAMES_OF_QUANTIZE,
    Command,
    define_batch_tokens,
    define_dtype,
    define_engine,
    define_ignored_keys,
    define_models,
    define_runs_file,
    define_store,
    define_texts,
    integer,
)
from jaxmap.cli.lens import define_lens
from jaxmap.cli.sweep import define_run, define_statistics, report, run_options


def _define_score(values: flags.FlagValues) -> None:
    define_store(values, made=True)
    define_texts(values)
    define_models(values)
    define_runs_file(values, "The store keeps it.")
    define_dtype(values)
    define_engine(values, "jax")
    define_lens(values)
    flags.DEFINE_list(
        "quantize",
        ["none"],
        "Comma-separated: none (the model itself), int8, nf4, fp4: copies with the linear layers "
        "in 8 or 4 bit, each a result of its own.",
        flag_values=values,
    )
    define_statistics(values, ["log_likelihood"])
    integer(
        values,
        "weight_distance",
        0,
        "How many earlier checkpoints of the same run to measure the distance in weight space to "
        "(10: as published); 0: none.",
    )
    define_batch_tokens(values)
    define_ignored_keys(values)
    define_run(values)


def _score(values: flags.FlagValues) -> int:
    from jaxmap.api.scoring import score

    return report(
        score(
            values.models,
            values.texts,
            values.store,
            models_file=values.models_file,
            runs_file=values.runs_file or None,
            dtype=values.dtype,
            engine=values.engine,
            lens=values.lens,
            quantize=values.quantize,
            statistics=values.statistics,
            keep_tokens=values.keep_tokens,
            weight_distance=values.weight_distance,
            batch_tokens=values.batch_tokens,
            ignore_config_keys=values.ignore_config_keys,
            **run_options(values),
        ),
        values,
    )


COMMANDS = {
    "score": Command(
        "log-likelihood of every text under each model",
        """Scores one fixed set of texts with every model and keeps one record per model in the
store. Run the same command again after a crash: it resumes, and what is done is not computed again.
A model that fails is recorded with the reason while the others continue.

  jaxmap score --store=runs --texts=texts.jsonl --models=EleutherAI/pythia-70m,./my-model
  jaxmap score --store=runs --texts=texts.jsonl \\
      --models='EleutherAI/pythia-70m@step{0,1,1000:143001:1000}'
  jaxmap score --store=runs --texts=texts.jsonl --models=EleutherAI/pythia-70m \\
      --quantize=none,int8,fp4 --weight_distance=10
  jaxmap score --store=runs --texts=texts.jsonl --models=./new-architecture --engine=torch
""",
        _define_score,
        _score,
        required=("store", "texts"),
        one_of=(MODELS,),
        renamed=OTHER_NAMES_OF_QUANTIZE,
    ),
}

"""`jaxmap score`: models to a store."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.command import STORE, TEXTS, Command, integer, required, string
from jaxmap.cli.lens import define_lens
from jaxmap.cli.sweep import define_run, run_options, score_all
from jaxmap.precision import PRECISIONS


def _define_score(values: flags.FlagValues) -> None:
    string(values, "store", None, STORE + " Made if it is not there; results are added to it.")
    string(values, "texts", None, TEXTS)
    string(
        values,
        "models",
        None,
        "Comma-separated: org/name, org/name@revision, a folder, folder@step1000; "
        "braces expand: @step{0,1,1000:143001:1000}.",
    )
    flags.DEFINE_enum(
        "dtype",
        "auto",
        ["auto", *PRECISIONS],
        "The arithmetic. float32, bfloat16, float16: of weights and activations. bfloat16_3x: "
        "weights held as stored, activations in float32, products in three bfloat16 passes. auto: "
        "float32 on CPU, as stored on GPU, bfloat16_3x on TPU. See `jaxmap floor`.",
        flag_values=values,
    )
    define_lens(values)
    flags.DEFINE_list(
        "quantize",
        ["none"],
        "Comma-separated: none (the model itself), int8, nf4, fp4: copies with the linear layers "
        "in 8 or 4 bit, each a result of its own.",
        flag_values=values,
    )
    integer(
        values,
        "weight_distance",
        0,
        "Distances in weight space to so many checkpoints of the same run before each (10: as "
        "published); 0: none.",
    )
    integer(values, "batch_tokens", None, "Tokens of a batch; a default for the device if unset.")
    flags.DEFINE_list(
        "ignore_config_keys",
        [],
        "Keys of config.json that you know to be without effect on the logits.",
        flag_values=values,
    )
    define_run(values)


def _score(values: flags.FlagValues) -> int:
    required(values, "store", "texts", "models")
    from jaxmap.checkpoint.refs import parse_refs
    from jaxmap.score.settings import Settings
    from jaxmap.score.tuned import parse_lens
    from jaxmap.store.work import parse_quantisations

    lens = parse_lens(values.lens)
    refs = parse_refs(values.models)
    settings = Settings(
        dtype=values.dtype,
        **lens,
        quantize=parse_quantisations(values.quantize),
        weight_distance=values.weight_distance,
        batch_tokens=values.batch_tokens,
        ignore_config_keys=tuple(values.ignore_config_keys),
        **run_options(values),
    )
    return score_all(values, refs, values.texts, None, settings)


COMMANDS = {
    "score": Command(
        "log-likelihood of every text under each model",
        """Scores one fixed set of texts with every model and keeps one record a model in the
store. Run the same command again after a crash: what is done is not computed again. A model that
fails is noted in the store and the others go on.

  jaxmap score --store=runs --texts=texts.jsonl --models=EleutherAI/pythia-70m,./my-model
  jaxmap score --store=runs --texts=texts.jsonl \\
      --models='EleutherAI/pythia-70m@step{0,1,1000:143001:1000}'
  jaxmap score --store=runs --texts=texts.jsonl --models=EleutherAI/pythia-70m \\
      --quantize=none,int8,fp4 --weight_distance=10
""",
        _define_score,
        _score,
    ),
}

"""`jaxmap score`: models to a store."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.command import STORE, TEXTS, Command, integer, required, string


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
        ["auto", "float32", "bfloat16", "float16"],
        "Of weights and activations; auto: float32 on CPU, as stored on GPU, bfloat16 on TPU.",
        flag_values=values,
    )
    flags.DEFINE_boolean(
        "lens", False, "Score every layer through the logit lens too.", flag_values=values
    )
    flags.DEFINE_list(
        "quantize",
        ["none"],
        "Comma-separated: none (the model itself), int8, nf4, fp4: copies with the linear layers "
        "in 8 or 4 bit, each a result of its own.",
        flag_values=values,
    )
    integer(values, "batch_tokens", None, "Tokens of a batch; a default for the device if unset.")
    flags.DEFINE_list(
        "ignore_config_keys",
        [],
        "Keys of config.json that you know to be without effect on the logits.",
        flag_values=values,
    )


def _score(values: flags.FlagValues) -> int:
    required(values, "store", "texts", "models")
    from jaxmap.checkpoint.refs import parse_refs
    from jaxmap.corpus.texts import load_texts
    from jaxmap.store import Store
    from jaxmap.store.work import parse_quantisations

    refs = parse_refs(values.models)
    variants = parse_quantisations(values.quantize)
    texts = load_texts(values.texts)
    store = Store.create(values.store, texts)
    from jaxmap import runtime

    runtime.prepare()
    from jaxmap.score.run import score_models

    outcome = score_models(
        refs,
        texts,
        store,
        dtype=values.dtype,
        lens=values.lens,
        quantize=variants,
        batch_tokens=values.batch_tokens,
        ignore_config_keys=values.ignore_config_keys,
    )
    print(
        f"{len(outcome.scored)} scored, {len(outcome.found)} already done, "
        f"{len(outcome.failed)} failed"
    )
    for failure in outcome.failed:
        print(f"  {failure.item.label}: {failure.reason}")
    return outcome.exit_code


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
      --quantize=none,int8,fp4
""",
        _define_score,
        _score,
    ),
}

"""`jaxmap tokens`: what kept log-probabilities of tokens say."""

from __future__ import annotations

import os

from absl import flags

from jaxmap.cli.command import Command, define_store, integer, string

_UNITS = ("text", "block", "token")


def _define(values: flags.FlagValues) -> None:
    define_store(values)
    string(values, "reference", None, "The result that the others stand beside; any tokenizer.")
    string(values, "texts", None, "The store's texts, for kinds of token and for --by.")
    flags.DEFINE_list(
        "by",
        [],
        "Comma-separated fields of the texts, such as source or meta.pile_set_name.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "unit",
        "text",
        _UNITS,
        "What the bootstrap draws for standard errors: texts, blocks of neighbouring tokens, or "
        "tokens, which are not independent, so that their errors are too small.",
        flag_values=values,
    )
    integer(values, "block", 256, "The bytes of a block.")
    integer(values, "draws", 1000, "Resamples of the bootstrap.")
    integer(values, "seed", 0, "Seed of the bootstrap.")
    flags.DEFINE_float(
        "clip",
        None,
        "Log-probabilities of tokens below minus so many nats count as that.",
        flag_values=values,
    )
    integer(values, "max_bytes", None, "Only the first so many bytes of each text count.")
    string(values, "out", None, "The folder for tokens.csv.")


def _tokens(values: flags.FlagValues) -> int:
    from jaxmap.api.tokens import tokens

    found = tokens(
        values.store,
        reference=values.reference or None,
        texts=values.texts or None,
        by=values.by,
        unit=values.unit,
        block=values.block,
        draws=values.draws,
        seed=values.seed,
        clip=values.clip,
        max_bytes=values.max_bytes,
        out=values.out,
    )
    models = len({row.model for row in found.found})
    where = os.path.join(values.out, found.file)
    print(f"{len(found.found)} statistics of {models} models in {where}")
    return 0


COMMANDS = {
    "tokens": Command(
        "what kept log-probabilities of tokens say, without the models",
        """Reads what `jaxmap score --keep_tokens` kept. tokens.csv has bits per byte of each
result, and with --reference the difference from it and the KL over texts (the estimator of the
papers), over blocks and over tokens: of all texts, with --by of those with each value of a field,
with --texts by kind of token too. Models with other tokenizers are aligned at bytes where tokens of
both end. Standard errors are of a bootstrap over --unit.

  jaxmap score --store=runs --texts=texts.jsonl --models=./a,./b --keep_tokens
  jaxmap tokens --store=runs --texts=texts.jsonl --reference=./a --by=source --out=tokens
  jaxmap tokens --store=runs --reference=./a --unit=block --block=64 --clip=10 --out=clipped
""",
        _define,
        _tokens,
        required=("store", "out"),
    ),
}

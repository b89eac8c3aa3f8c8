"""`jaxmap compare` and `card`: models compared with a reference, token by token."""

from __future__ import annotations

import sys

from absl import flags

from jaxmap.cli import exit_codes
from jaxmap.cli.command import (
    MODELS,
    OTHER_NAMES_OF_QUANTIZE,
    Command,
    define_batch_tokens,
    define_dtype,
    define_ignored_keys,
    define_models,
    define_store,
    define_texts,
    integer,
    string,
)
from jaxmap.cli.lens import define_lens
from jaxmap.cli.output import as_flags, files_in
from jaxmap.cli.sweep import command_line
from jaxmap.errors import InputError


def _define(values: flags.FlagValues) -> None:
    define_store(values, made=True)
    define_texts(values)
    string(values, "reference", None, "The model that the others are compared with.")
    define_models(values)
    string(values, "out", None, "A folder for compare.csv, compare_statistics.csv and compare.md.")
    flags.DEFINE_list(
        "quantize",
        ["none"],
        "Comma-separated: none (the model itself), int8, nf4, fp4: copies with the linear layers "
        "in 8 or 4 bit.",
        flag_values=values,
    )
    define_lens(values)
    define_dtype(values)
    string(
        values,
        "floor_dtype",
        "",
        "Another arithmetic than --dtype, such as bfloat16, in which the reference and each copy "
        "are compared with themselves: how much of a divergence may be rounding.",
    )
    flags.DEFINE_list(
        "by",
        [],
        "Comma-separated fields of the texts, such as source or meta.pile_set_name: statistics are "
        "also of the texts with each value of them.",
        flag_values=values,
    )
    flags.DEFINE_bool(
        "page",
        False,
        "Write compare.html too, a page of the texts that differ most, each token coloured by its "
        "KL. jaxmap report shows three of them in any case.",
        flag_values=values,
    )
    integer(
        values,
        "keep_states",
        0,
        "16 or 32: keep the reference's final hidden states in the store in so many bits, so that "
        "it need not be in memory beside each model. 0: it is.",
    )
    string(
        values,
        "states_budget",
        "20GB",
        "The most that these states may take on the disk, as 20GB or 1.5TB.",
    )
    flags.DEFINE_enum(
        "layer_by_layer",
        "auto",
        ["auto", "yes", "no"],
        "Whether the reference is read one layer at a time, with its final hidden states kept as "
        "with --keep_states. auto: if its weights do not fit in memory.",
        flag_values=values,
    )
    define_batch_tokens(values)
    define_ignored_keys(values)


def _run(values: flags.FlagValues) -> int:
    from jaxmap.api.comparison import compare
    from jaxmap.output_paths import check_folder

    check_folder(values.out)
    found = compare(
        values.models,
        values.texts,
        values.store,
        reference=values.reference,
        models_file=values.models_file,
        quantize=values.quantize,
        lens=values.lens,
        dtype=values.dtype,
        floor_dtype=values.floor_dtype,
        by=values.by,
        page=values.page,
        keep_states=values.keep_states,
        states_budget=values.states_budget,
        layer_by_layer=values.layer_by_layer,
        batch_tokens=values.batch_tokens,
        ignore_config_keys=values.ignore_config_keys,
        command=command_line(),
    )
    print(as_flags(found.text(failures=False), list(values)), end="")
    print(files_in(values.out, found.save(values.out)))
    return exit_codes.of_kinds(isinstance(error, InputError) for _, error in found.failures)


def _define_card(values: flags.FlagValues) -> None:
    define_store(values)
    string(
        values,
        "reference",
        None,
        "The model that others were compared with; needed of several.",
    )
    string(values, "out", None, "A folder for card.csv, card.md and kl_and_size.png, .svg, .pdf.")


def _card(values: flags.FlagValues) -> int:
    from jaxmap.api.comparison import card
    from jaxmap.output_paths import check_folder

    check_folder(values.out)
    found = card(values.store, reference=values.reference or None)
    print(found.markdown(), end="")
    # The table may go into a file.
    print(files_in(values.out, found.save(values.out)), file=sys.stderr)
    return exit_codes.DONE


COMMANDS = {
    "compare": Command(
        "models beside a reference, token by token, with a table for the model card",
        """Compares models that have the tokenizer of a reference (its quantised copies, its
fine-tunes, checkpoints of its training) with it. At each token: the KL divergence of the two
next-token distributions, both ways, exact over the whole vocabulary; how many of their likeliest
tokens are the same; both log-probabilities and entropies. Of vocabularies of two sizes the tokens
that both have are compared, and the probability that either gives to others is reported. A model
with another tokenizer has no token KL: bits per byte of both are compared between the bytes where
tokens of both end.

--out has four files. compare.csv: a row for each model. compare_statistics.csv: means, quantiles
and shares with standard errors over texts, of all tokens, by how sure the reference is, by kind of
token, and by the fields of --by. compare_texts.csv: the texts that differ most, and where in them.
compare.md: a table for a model card. --page adds compare.html, which shows such texts token by
token, coloured by their divergence. `jaxmap report` of the store shows all of this too.

--lens=logit or --lens=tuned:DIR adds a row for each layer of each model, in the pass that is made
anyway. A reference that does not fit in memory is read layer by layer (--layer_by_layer).

The KL of the papers, estimated from the variance of log-likelihoods over texts, stands beside: it
is another quantity, and the one that `jaxmap kl` gives for models with any tokenizers.
--floor_dtype shows how much of either is rounding. docs/divergences.md says when to ask for which.

Run the same command again after a crash: what is measured is kept in the store.

  jaxmap compare --store=runs --texts=texts.jsonl --reference=./model \\
      --models=./model --quantize=int8,nf4 --floor_dtype=bfloat16 --out=card
  jaxmap compare --store=runs --texts=texts.jsonl --reference=org/base --models=org/tuned --out=card
""",
        _define,
        _run,
        required=("store", "texts", "reference", "out"),
        one_of=(MODELS,),
        renamed=OTHER_NAMES_OF_QUANTIZE,
    ),
    "card": Command(
        "the table and figure for a model card, from what was compared",
        """Makes a table of all models that `jaxmap compare` has compared with a reference in a
store, the smallest first: size, bits per weight, both KLs with their errors, how often the
likeliest token is the same, the change in bits per byte, floors where they were measured. The
figure has KL against size, and joins the copies that no other beats. No model is read.

  jaxmap card --store=runs --out=card
""",
        _define_card,
        _card,
        required=("store", "out"),
    ),
}

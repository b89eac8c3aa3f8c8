"""Fewer texts for a new model: resample chooses them, place finds the model's position on a map."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.command import Command, define_store, define_texts, integer, string

METHODS = ("uniform", "ls", "kl")


def _define_resample(values: flags.FlagValues) -> None:
    define_store(values)
    define_texts(values, "Those that the store was scored on.")
    string(values, "out", None, "The .jsonl to write: the chosen texts and their weights.")
    integer(values, "n", None, "How many different texts to choose, the cost of a new model.")
    flags.DEFINE_enum(
        "method",
        "kl",
        METHODS,
        "How texts are drawn: all alike, by their share of the variance (ls), or by how far they "
        "tell models apart (kl).",
        flag_values=values,
    )
    integer(values, "seed", 0, "Seed of the draw; the same one chooses the same texts.")


def _resample(values: flags.FlagValues) -> int:
    from jaxmap.api.resampling import resample

    chosen = resample(
        values.store,
        values.texts,
        values.n,
        out=values.out,
        method=values.method,
        seed=values.seed,
    )
    print(
        f"{len(chosen.rows)} of {chosen.num_texts} texts in {values.out} "
        f"({chosen.sample.draws} draws)"
    )
    return 0


def _define_place(values: flags.FlagValues) -> None:
    string(values, "store", None, "The store of the map's models, scored on all texts.")
    string(values, "texts", None, "The .jsonl that `jaxmap resample` wrote.")
    string(values, "new", None, "The store of the new models, scored on those texts only.")
    string(values, "out", None, "The folder for placed.csv, coordinates.csv and the figure.")


def _place(values: flags.FlagValues) -> int:
    from jaxmap.api.resampling import place

    placing = place(values.store, values.texts, values.new, out=values.out)
    print(placing.text(), end="")
    return 0


COMMANDS = {
    "resample": Command(
        "choose few texts on which a new model can be placed on a map",
        """Draws texts of a store with replacement, by how well they distinguish its models (Oyama
et al., arXiv 2505.15428), until --n different ones have come up, and writes them with weights. A
new model is scored on those only, into a store of its own, and `jaxmap place` finds its KL to
every model of the map, with the error that comes from having seen fewer texts.

  jaxmap resample --store=map --texts=texts.jsonl --out=few.jsonl --n=1000
  jaxmap score    --store=new --texts=few.jsonl --models=org/new-model
  jaxmap place    --store=map --texts=few.jsonl --new=new --out=placed
""",
        _define_resample,
        _resample,
        required=("store", "texts", "out", "n"),
    ),
    "place": Command(
        "place models that were scored on few texts on an existing map",
        """Takes models scored on texts that `jaxmap resample` chose and estimates where they are
among the models of the map, each number with its standard error over the draw of the texts:

  placed.csv       KL of each new model to each model of the map, bits per byte
  coordinates.csv  places in the map's two leading principal components, sqrt(bits/byte)
  placed.png, .svg, .pdf

  jaxmap place --store=map --texts=few.jsonl --new=new --out=placed
""",
        _define_place,
        _place,
        required=("store", "texts", "new", "out"),
    ),
}

"""`jaxmap texts`: the texts that models are scored on."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.command import Command, integer, string


def _define_texts(values: flags.FlagValues) -> None:
    string(values, "out", None, "The file to write, .jsonl (or .jsonl.gz, .jsonl.zst).")
    string(values, "source", None, "stdlib, pile, a file or folder, or a Hub dataset.")
    integer(values, "n", None, "How many texts; 10,000 if unset, or all where there are fewer.")
    integer(values, "min_bytes", 256, "Texts have more UTF-8 bytes than this.")
    integer(values, "max_bytes", 1024, "Texts have at most this many UTF-8 bytes.")
    integer(values, "seed", 42, "Seed of the draw.")
    flags.DEFINE_boolean(
        "overwrite", False, "Replaces a file that is there; refused otherwise.", flag_values=values
    )


def _texts(values: flags.FlagValues) -> int:
    from jaxmap.api.corpus import texts

    drawn = texts(
        values.source,
        out=values.out,
        n=values.n,
        min_bytes=values.min_bytes,
        max_bytes=values.max_bytes,
        seed=values.seed,
        overwrite=values.overwrite,
    )
    print(drawn.text(), end="")
    return 0


COMMANDS = {
    "texts": Command(
        "cut a corpus into the texts that models are scored on",
        """Writes a .jsonl with one text per line, by the published recipe: documents are cut into
chunks of at most --max_bytes that never split a character, chunks of at most --min_bytes are
dropped, and --n are drawn with --seed.

  jaxmap texts --out=texts.jsonl --source=stdlib --n=1000     works offline, anywhere
  jaxmap texts --out=pile.jsonl --source=pile                 the published 10,000
""",
        _define_texts,
        _texts,
        required=("out", "source"),
    ),
}

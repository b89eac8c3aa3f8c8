"""The published results from the authors' released data: reproduce."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.command import Command, string


def _define(values: flags.FlagValues) -> None:
    string(
        values,
        "released",
        None,
        "The authors' data: their repository's kl-scale folder, its data/, or all files in one "
        "place. Nothing is written there.",
    )
    string(values, "out", None, "The folder for tables, figures, index.html and store/.")
    flags.DEFINE_boolean(
        "compare_tsne",
        True,
        "Compute t-SNE also where released coordinates are shown, and say how far they are apart.",
        flag_values=values,
    )


def _reproduce(values: flags.FlagValues) -> int:
    from jaxmap.api.reproduction import reproduce

    found = reproduce(values.released, values.out, compare_tsne=values.compare_tsne)
    print(found.text(), end="")
    print(f"tables, figures and index.html in {values.out}")
    return 0


COMMANDS = {
    "reproduce": Command(
        "the tables and figures of the paper from the authors' data",
        """Reads the data that the authors of Kishino et al. 2026 released and writes the ten rows
of the scale of KL, the diffusion exponents, the KL between checkpoints, the floors and texts of
each group of runs, figures 1 to 5, and a page that puts them together, all by the published recipe.
No model, no GPU and no network is needed. See docs/reproduce.md.

  jaxmap reproduce --released=modelmap/kl-scale --out=reproduced
""",
        _define,
        _reproduce,
        required=("released", "out"),
    ),
}

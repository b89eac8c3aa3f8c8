"""`jaxmap bench`: how fast this machine scores."""

from __future__ import annotations

from absl import flags

from jaxmap.cli.command import Command, integer, string


def _define_bench(values: flags.FlagValues) -> None:
    flags.DEFINE_list(
        "shapes",
        ["70m", "160m"],
        "Comma-separated shapes of Pythia: 14m, 70m, 160m, 410m, 1.4b, 6.9b.",
        flag_values=values,
    )
    integer(values, "n", 64, "How many texts are scored, of 150 to 350 tokens.")
    integer(values, "repeats", 3, "Timed turns of each, after one that is not.")
    flags.DEFINE_enum(
        "dtype",
        "float32",
        ["float32", "bfloat16", "float16"],
        "Of the arithmetic.",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "stored",
        "float16",
        ["float32", "bfloat16", "float16"],
        "Of the weights on disk; float16 as those of Pythia.",
        flag_values=values,
    )
    flags.DEFINE_list(
        "rivals",
        None,
        "Comma-separated: torch-one, torch-batched; both if torch is installed.",
        flag_values=values,
    )
    string(values, "out", None, "A .json for the figures, with the machine and the versions.")


def _bench(values: flags.FlagValues) -> int:
    from jaxmap.api.planning import bench

    found = bench(
        shapes=values.shapes,
        n=values.n,
        repeats=values.repeats,
        dtype=values.dtype,
        stored=values.stored,
        rivals=values.rivals,
        out=values.out,
    )
    print(found.text(), end="")
    return 0


COMMANDS = {
    "bench": Command(
        "how fast this machine scores, beside PyTorch",
        """Scores the same random texts on random checkpoints of Pythia's shapes, in turns with the
published way (torch-one: one text at a time, full log-softmax) and with length-sorted batches
(torch-batched), each in a process of its own, and measures the machine's matrix products beside.
Real tokens a second, share of the matmul rate, peak memory. A few minutes; keep the machine quiet.

  jaxmap bench
  jaxmap bench --shapes=70m --n=32 --out=bench.json
""",
        _define_bench,
        _bench,
        former={"texts": "n"},
    ),
}

"""What can be scored, on which devices, and how fast: families, plan, bench."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import textwrap
from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from jaxmap.api.arguments import Names, Path, names_of
from jaxmap.errors import InputError
from jaxmap.output_paths import check_file
from jaxmap.results import Result
from jaxmap.tables import write_csv

if TYPE_CHECKING:
    import pandas

    from jaxmap.benchmarking.report import BenchmarkReport
    from jaxmap.benchmarking.speed import SpeedRow
    from jaxmap.planning.result import Plan


@dataclasses.dataclass(frozen=True)
class Families(Result):
    """The architectures that can be scored; `find` is a part of the names that were asked for."""

    find: str = ""

    def text(self) -> str:
        """The table, with what its columns mean, and the formats of weights."""
        from jaxmap.architectures import coverage
        from jaxmap.checkpoint.encodings import formats_of_weights

        lines = textwrap.wrap(formats_of_weights(), 98, subsequent_indent="  ")
        return coverage.table(self.find) + "".join(f"{line}\n" for line in lines)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per value of model_type in config.json.

        models: of the published map of 1,018; mixers, mlps: what the layers are made of; logits,
        text, lens: the largest differences from PyTorch in float32 on CPU, of a logit, of a text's
        score and of its score at any layer, in nats; not_quantised, not_sharded: layers that are
        kept whole; language_model: of a type with pictures or sound, the type of what is scored
        of it; paper: what to cite.
        """
        import pandas

        from jaxmap.architectures import coverage

        return pandas.DataFrame(coverage.rows(self.find))

    def save(self, folder: Path) -> list[FilePath]:
        """Writes families.csv."""
        table = self.to_dataframe()
        rows = table.itertuples(index=False)
        return [write_csv(FilePath(folder) / "families.csv", list(table.columns), rows)]


def families(*, find: str = "") -> Families:
    """The architectures that can be scored, and how well each was compared with PyTorch.

    Args:
      find: only the types whose name contains this.
    """
    return Families(find)


def plan(
    model: Path,
    *,
    topology: str | None = None,
    mesh: str = "auto",
    dtype: str = "auto",
    lens: bool = False,
    batch_tokens: int | None = None,
    largest_batch: bool = True,
    n: int = 10_000,
    tokens: int = 270,
    out: Path | None = None,
    ignore_config_keys: Names = (),
) -> Plan:
    """Estimates memory and time of scoring a model on devices of this machine or elsewhere.

    The scoring is compiled ahead of time, and nothing is run; of the model its config.json is
    read, or a GGUF's metadata, and no weights. A copy in codes is sized by what the devices hold of
    it if its files are in the folder. `fits` of the result says whether a batch fits in memory.

    Args:
      model: "org/name", "org/name@revision", a folder or a GGUF file on disk.
      topology: devices to compile for, none needed: TPUs, as "v5e:4x4" or "v5p:2x2x4" (this needs
        the package libtpu), or GPUs of one host, as "h100:8" (this needs JAX's CUDA plugin). In a
        process that has not used JAX yet JAX then runs on the CPU only. None: the devices of this
        machine.
      mesh: devices per axis, as "data=4,model=4", or "auto".
      dtype: the arithmetic, as of `score`.
      lens: whether every layer is read.
      batch_tokens: tokens per batch of each group of devices; None: a default for the device.
      largest_batch: whether to find the largest batch that fits, too.
      n: how many texts the times are for.
      tokens: tokens per text.
      out: a .jsonl file to which the figures are added as a line.
      ignore_config_keys: as of `score`.

    Raises InputError for a model, topology or mesh that is not understood.
    """
    if out is not None:
        check_file(out, ".jsonl")
    if topology:
        from jaxmap.hardware import topology as topologies

        topologies.prepare(topologies.parse(topology))
    from jaxmap import runtime

    runtime.prepare()
    from jaxmap.hardware import chips
    from jaxmap.planning.plan import plan_for

    with chips.without_cache() if topology else contextlib.nullcontext():
        found = plan_for(
            os.fspath(model),
            topology=topology or None,
            mesh=mesh,
            dtype=dtype,
            lens=lens,
            batch_tokens=batch_tokens,
            largest_batch=largest_batch,
            texts=n,
            tokens=tokens,
            ignore_config_keys=names_of(ignore_config_keys),
        )
    if out is not None:
        found.add_to(out)
    return found


@dataclasses.dataclass(frozen=True)
class Benchmark(Result):
    """How fast this machine scores; `report` has the machine, the settings and the rows."""

    report: BenchmarkReport[SpeedRow]

    def text(self) -> str:
        """A Markdown table, and jaxmap against each of the others."""
        from jaxmap.benchmarking.speed import text

        return text(self.report)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per shape and contestant."""
        import pandas

        return pandas.DataFrame([dataclasses.asdict(row) for row in self.report.rows])

    def save(self, folder: Path) -> list[FilePath]:
        """Writes bench.json, which has all of it, and the table as bench.csv."""
        table, path = self.to_dataframe(), FilePath(folder) / "bench.json"
        self.report.save(path)
        rows = table.itertuples(index=False)
        return [path, write_csv(FilePath(folder) / "bench.csv", list(table.columns), rows)]


def bench(
    *,
    shapes: Names = ("70m", "160m"),
    n: int = 64,
    repeats: int = 3,
    dtype: str = "float32",
    stored: str = "float16",
    rivals: Names | None = None,
    out: Path | None = None,
) -> Benchmark:
    """Measures how fast this machine scores, beside PyTorch; takes a few minutes.

    The same random texts are scored on random checkpoints of Pythia's shapes, in turns with the
    published way (torch-one: one text at a time, full log-softmax) and with length-sorted batches
    (torch-batched), each in a process of its own. Keep the machine quiet meanwhile.

    Args:
      shapes: of Pythia: 14m, 70m, 160m, 410m, 1.4b, 6.9b.
      n: how many texts, of 150 to 350 tokens.
      repeats: timed turns of each, after one that is not timed.
      dtype: of the arithmetic: float32, bfloat16 or float16.
      stored: of the weights on disk.
      rivals: torch-one, torch-batched; None: both if PyTorch is installed.
      out: a .json file for the figures, with the machine and the versions.

    Raises InputError for a shape, rival or number that cannot be.
    """
    from jaxmap.benchmarking.speed import measure

    if out is not None:
        check_file(out, ".json")
    for name, value in (("n", n), ("repeats", repeats)):
        if value < 1:
            raise InputError(f"{value} is too few: give at least 1", field=name)
    known = ("float32", "bfloat16", "float16")
    for name, one in (("dtype", dtype), ("stored", stored)):
        if one not in known:
            raise InputError(f"{one!r} is unknown; known: {', '.join(known)}", field=name)
    report = measure(
        names_of(shapes),
        texts=n,
        repeats=repeats,
        dtype=dtype,
        stored=stored,
        rivals=None if rivals is None else names_of(rivals),
    )
    if out is not None:
        report.save(out)
    return Benchmark(report)

"""The result of a plan: memory, batch and time of one model on one set of devices."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import os
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxmap.atomic import append_line
from jaxmap.engine.device_memory import USABLE, Memory
from jaxmap.planning.cost import Work
from jaxmap.results import Result

if TYPE_CHECKING:
    import pandas


@dataclasses.dataclass(frozen=True)
class Plan(Result):
    """The result of `plan_for`, in bytes per device, and seconds at the device's published rates.

    Fields:
      limit: the bytes of a device that may be used; None if unknown.
      passes, attention_passes: how many products of the device one product of the precision takes,
        with weights and between activations.
      arithmetic_seconds, memory_seconds: for all texts, if nothing but arithmetic, or nothing but
        reading and writing memory, took time; None for devices without published rates.
      modelled_seconds: for all texts, what the operations of the compiled program add up to
        (`modelled.charges`); None for devices of this machine, and where nothing fits.
      largest_batch_tokens: the tokens of the largest batch per group of devices; None if it was not
        requested.
      dense_up_to: the most tokens of a text that can be scored, see `Spec.dense_up_to`; None: no
        limit but the context, to which texts are cut.
    """

    model: str
    devices: str
    num_devices: int
    mesh: str
    dtype: str
    stored: str
    batch_tokens: int
    memory: Memory | None
    parameter_bytes: int
    limit: int | None
    work: Work
    texts: int
    tokens_per_text: int
    flops: float
    passes: int
    attention_passes: int
    arithmetic_seconds: float | None
    memory_seconds: float | None
    modelled_seconds: float | None
    largest_batch_tokens: int | None
    topology: str | None = None
    dense_up_to: int | None = None

    @property
    def fits(self) -> bool:
        """Whether a batch does, by the compiler's count."""
        if self.memory is None:
            return False
        return self.limit is None or self.memory.total <= USABLE * self.limit

    @property
    def seconds(self) -> float | None:
        """The roofline: the longer of arithmetic and memory (Williams et al. 2009)."""
        if self.arithmetic_seconds is None or self.memory_seconds is None:
            return None
        return max(self.arithmetic_seconds, self.memory_seconds)

    def text(self) -> str:
        """The plan as lines of text."""
        work = self.work
        lines = [
            f"{self.model}: {work.parameters / 1e9:.3g} billion parameters, stored in "
            f"{self.stored}, scored in {self.dtype}",
            f"{self.num_devices} x {self.devices}, mesh {self.mesh}, "
            f"{self.batch_tokens:,} tokens a batch of each group",
            "",
            f"memory a device    {_limit(self.limit)}",
            f"  parameters       {_gib(self.parameter_bytes)}",
        ]
        if self.memory is None:
            lines.append(
                "  does not fit: the parameters alone are too many"
                if self.limit is not None and self.parameter_bytes > self.limit
                else "  does not fit: no memory is left for a batch beside the parameters"
            )
        else:
            lines += [
                f"  and batch        {_gib(self.memory.arguments)}",
                f"  temporaries      {_gib(self.memory.temporaries)}",
                f"  results          {_gib(self.memory.output)}",
                f"  together         {_gib(self.memory.total)}"
                + ("" if self.fits else "  does not fit"),
            ]
        if self.largest_batch_tokens is not None:
            lines.append(f"  largest batch    {self.largest_batch_tokens:,} tokens of each group")
        keys = self.tokens_per_text / 2
        lines += [
            "",
            f"a token            {work.flops(1, keys) / 1e9:,.4g} GFLOP "
            f"({work.weight_flops / 2e9:,.4g} billion weights met x 2, and attention to "
            f"{keys:.0f} keys)",
            f"{self.texts:,} texts      {self.flops / 1e15:,.4g} PFLOP at {self.tokens_per_text} "
            f"tokens a text" + (f", in {self.passes} passes" if self.passes > 1 else ""),
        ]
        if self.dense_up_to is not None:
            lines.append(
                f"  texts            of up to {self.dense_up_to:,} tokens; in longer ones an "
                "indexer chooses keys, which is not implemented"
            )
        if self.seconds is not None:
            lines += [
                f"  arithmetic       {_time(self.arithmetic_seconds)}",
                f"  memory traffic   {_time(self.memory_seconds)}",
                f"  roofline         {_time(self.seconds)}: no run is faster",
            ]
        if self.modelled_seconds is not None:
            lines.append(
                f"  modelled         {_time(self.modelled_seconds)}: the compiled operations, one "
                "after another"
            )
        return "\n".join([*lines, ""])

    def facts(self) -> dict[str, Any]:
        """For .json: all fields, the day, and the versions that the figures depend on."""
        facts = dataclasses.asdict(self)
        topology = facts.pop("topology")
        own = {"fits": self.fits, "seconds": self.seconds}
        return {"topology": topology, **facts, **own, "made": _made()}

    def to_dataframe(self) -> pandas.DataFrame:
        """One row with all figures; those of memory and work as memory.NAME and work.NAME."""
        import pandas

        return pandas.json_normalize(self.facts())

    def save(self, folder: str | Path) -> list[Path]:
        """Adds a line to plan.jsonl."""
        return [self.add_to(Path(folder) / "plan.jsonl")]

    def add_to(self, path: str | os.PathLike[str]) -> Path:
        """Adds a line with all figures to a .jsonl file, which is made if it is not there."""
        append_line(path, json.dumps(self.facts()).encode())
        return Path(path)


def _made() -> dict[str, str]:
    found = {"date": datetime.date.today().isoformat()}
    for name in ("jaxmap", "jax", "libtpu", "jax-cuda13-plugin"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _gib(count: float) -> str:
    return f"{count / 2**30:8.2f} GiB"


def _limit(limit: int | None) -> str:
    if limit is None:
        return "(no limit known)"
    return f"{_gib(limit)}, of which {USABLE:.0%} are used"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    return f"{seconds:8.1f} s" if seconds < 600 else f"{seconds / 3600:8.2f} h"

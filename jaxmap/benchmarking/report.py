"""The results of a benchmark, with the machine and the settings, as a file."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.metadata
import importlib.util
import json
import os
import platform
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from jaxmap.atomic import write_atomic


class Standing(Protocol):
    """The results of one contestant on one shape; a dataclass."""

    @property
    def shape(self) -> str:
        """The name of the model's shape."""

    @property
    def name(self) -> str:
        """The name of the program that was measured."""


R = TypeVar("R", bound=Standing)


@dataclasses.dataclass(frozen=True)
class BenchmarkReport(Generic[R]):
    """The results of a benchmark.

    Fields:
      machine: see `this_machine`.
      settings: the settings of the benchmark by name.
      rows: one per shape and contestant.
    """

    machine: dict[str, Any]
    settings: dict[str, Any]
    rows: list[R]

    def row(self, shape: str, name: str) -> R:
        """The row of a shape and a program; raises StopIteration where there is none."""
        return next(row for row in self.rows if (row.shape, row.name) == (shape, name))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the report as a .json file."""
        write_atomic(path, (json.dumps(dataclasses.asdict(self), indent=1) + "\n").encode())


def this_machine() -> dict[str, Any]:
    """The device, the cores, the system, today's date and the versions of libraries, by name."""
    import jax

    from jaxmap.environment import cores, device, versions

    found = versions()
    if importlib.util.find_spec("torch") is not None:
        found["torch"] = importlib.metadata.version("torch")
    return {
        "device": device() if jax.default_backend() != "cpu" else _cpu(),
        "cores": cores(),
        "system": platform.platform(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "versions": found,
    }


def _cpu() -> str:
    """The name of the processor, or of its architecture where the system does not give it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())

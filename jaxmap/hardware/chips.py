"""Vendors' figures for TPUs, and TPU topologies to compile for without a TPU."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import os
import re
from collections.abc import Iterator
from typing import Any

from jaxmap.errors import InputError


@dataclasses.dataclass(frozen=True)
class Chip:
    """One device of a topology: Google Cloud's figures, from its page on each generation.

    Fields:
      kinds: what JAX calls it, without the leading "TPU".
      memory: bytes of high-bandwidth memory.
      flops: bfloat16 products and sums per second.
      bandwidth: bytes per second from that memory.
      host: chips of one host, as a grid.
      products: bfloat16 products and sums a cycle of its matrix units.
      vector: float32 operations a cycle of its vector unit.
      link: bytes a second to one neighbour, each way: the bandwidth between chips over the four
        links of a two-dimensional torus or the six of a three-dimensional one.
    """

    name: str
    kinds: tuple[str, ...]
    memory: int
    flops: float
    bandwidth: float
    host: tuple[int, int, int]
    products: int
    vector: int
    link: float

    @property
    def clock(self) -> float:
        """Cycles a second."""
        return self.flops / self.products


TPUS = {
    chip.name: chip
    for chip in (
        Chip("v4", ("v4",), 32 << 30, 275e12, 1.228e12, (2, 2, 1), 8 * 2 * 128**2, 2 * 4096, 50e9),
        Chip(
            "v5e",
            ("v5 lite", "v5e"),
            16 << 30,
            197e12,
            0.819e12,
            (2, 2, 1),
            4 * 2 * 128**2,
            4096,
            50e9,
        ),
        Chip(
            "v5p",
            ("v5", "v5p"),
            95 << 30,
            459e12,
            2.765e12,
            (2, 2, 1),
            8 * 2 * 128**2,
            2 * 4096,
            100e9,
        ),
        Chip(
            "v6e",
            ("v6 lite", "v6e"),
            32 << 30,
            918e12,
            1.640e12,
            (2, 2, 1),
            4 * 2 * 256**2,
            4096,
            112e9,
        ),
    )
}


def parse(topology: str) -> tuple[Chip, tuple[int, ...]]:
    """The chip and the grid of a topology such as "v5e:4x4"; raises InputError for others."""
    name, _, grid = topology.partition(":")
    if name not in TPUS or not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", grid):
        raise InputError(
            "is not understood; write a TPU and its grid, as in v5e:4x4 or v5p:2x2x4 "
            f"(known: {', '.join(TPUS)})",
            field="topology",
            value=topology,
        )
    return TPUS[name], tuple(int(size) for size in grid.split("x"))


def prepare() -> None:
    """Lets libtpu describe TPUs where there are none, best before JAX is imported.

    JAX then starts on the CPU alone, and for good; where it has started already, it stays as it
    is. InputError without libtpu.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise InputError(
            "compiling for a TPU needs its compiler, libtpu: pip install 'jax[tpu]'",
            field="topology",
        )
    os.environ["JAX_PLATFORMS"] = "cpu"
    # What libtpu would ask the machine about itself: this one is no TPU host.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
    # No device is opened, so that several may compile at once.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Compiles without JAX's cache: programs for absent devices cannot be read back from it."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    def use(cache: bool) -> None:
        jax.config.update("jax_enable_compilation_cache", cache)
        compilation_cache.reset_cache()  # what it is asked for is otherwise read once only

    before = jax.config.values["jax_enable_compilation_cache"]
    use(False)
    try:
        yield
    finally:
        use(before)


def devices(topology: str) -> list[Any]:
    """The devices of a topology, to compile for; after `prepare`."""
    from jax.experimental import topologies

    chip, grid = parse(topology)
    host = tuple(min(a, b) for a, b in zip(chip.host, (*grid, 1), strict=False))
    try:
        described = topologies.get_topology_desc(
            platform="tpu",
            topology_name=topology,
            chip_config_name="default",
            chips_per_host_bounds=host,
            num_slices=1,
        )
    except Exception as error:
        lines = str(error).strip().splitlines()
        raise InputError(
            f"the TPU's compiler refuses it ({lines[0]})", field="topology", value=topology
        ) from error
    return list(described.devices)

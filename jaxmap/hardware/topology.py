"""Devices to compile for that need not be present: a grid of TPUs, or GPUs of one host."""

from __future__ import annotations

import dataclasses
from typing import Any

from jaxmap.errors import InputError
from jaxmap.hardware import chips, gpus

GPUS_OF_A_HOST = 8  # at most, joined by NVLink


@dataclasses.dataclass(frozen=True)
class Topology:
    """Devices of one kind, by the vendor's figures.

    Fields:
      text: as it was written.
      name: of the kind, a key of `chips.TPUS` or `gpus.GPUS`.
      device: the kind's name for people.
      is_gpu: whether the devices are GPUs.
      memory: bytes of a device's high-bandwidth memory.
      flops: 16-bit products and sums per second and device.
      float32_flops: float32 products and sums per second and device; None where the compiler makes
        them of 16-bit ones.
      bandwidth: bytes per second from a device's memory.
    """

    text: str
    name: str
    device: str
    is_gpu: bool
    memory: int
    flops: float
    float32_flops: float | None
    bandwidth: float


def name_of(device: Any) -> str | None:
    """The key in `chips.TPUS` or `gpus.GPUS` of one of JAX's devices; None for any other."""
    kind = str(device.device_kind)
    if device.platform == "tpu":
        found = (
            chip.name for chip in chips.TPUS.values() if kind.removeprefix("TPU ") in chip.kinds
        )
        return next(found, None)
    if device.platform == "gpu":
        return next((name for name in gpus.GPUS if name in kind.lower()), None)
    return None


def parse(text: str) -> Topology:
    """The devices of "v5e:4x4" or "h100:8"; raises InputError for what is not understood."""
    name, _, count = text.partition(":")
    if name in gpus.GPUS:
        if not count.isdecimal() or not 1 <= int(count) <= GPUS_OF_A_HOST:
            raise InputError(
                f"is not understood; write how many GPUs of one host, as in {name}:8 "
                f"(1 to {GPUS_OF_A_HOST})",
                field="topology",
                value=text,
            )
        gpu = gpus.GPUS[name]
        return Topology(
            text=text,
            name=name,
            device=f"GPU {name}",
            is_gpu=True,
            memory=gpu.memory,
            flops=gpu.peak,
            float32_flops=gpu.float32_peak,
            bandwidth=gpu.peak_bandwidth,
        )
    if name not in chips.TPUS:
        raise InputError(
            "is not understood; write a TPU and its grid, as in v5e:4x4 or v5p:2x2x4 "
            f"(known: {', '.join(chips.TPUS)}), or a GPU and how many of one host, as in h100:8 "
            f"(known: {', '.join(gpus.GPUS)})",
            field="topology",
            value=text,
        )
    chip, _ = chips.parse(text)
    return Topology(text, name, f"TPU {name}", False, chip.memory, chip.flops, None, chip.bandwidth)


def prepare(topology: Topology) -> None:
    """Lets the compiler describe devices where there are none, before JAX is imported.

    JAX then starts on the CPU alone. InputError without the compiler.
    """
    if topology.is_gpu:
        gpus.prepare()
    else:
        chips.prepare()


def devices(topology: Topology) -> list[Any]:
    """The devices, to compile for; after `prepare`."""
    if not topology.is_gpu:
        return chips.devices(topology.text)
    name, _, count = topology.text.partition(":")
    return gpus.devices(name, int(count))

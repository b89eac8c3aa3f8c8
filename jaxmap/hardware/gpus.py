"""Vendors' figures for GPUs, and the target that lets the CUDA plugin compile for one
that is not there."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
from typing import Any

from jaxmap.errors import InputError


@dataclasses.dataclass(frozen=True)
class Gpu:
    """One device, and what a modelled kernel is charged by.

    Fields:
      target: the compiler's description of it.
      flops: 16-bit products and sums a second that the largest products reach.
      flops_by_dtype: the same for other operands, by HLO dtype.
      bandwidth: bytes a second that streaming kernels reach.
      exponentials: a second.
      vector: float32 operations a second outside the matrix units, a sum or product each.
      launch: seconds that every kernel costs beside its work.
      memory: bytes of high-bandwidth memory.
      peak, float32_peak: products and sums per second of the data sheet, dense: of 16-bit and of
        float32 operands.
      peak_bandwidth: bytes per second of the data sheet.
      link: bytes a second to the other GPUs of the host, each way (NVLink's data sheet).
    """

    name: str
    target: str
    flops: float
    flops_by_dtype: dict[str, float]
    bandwidth: float
    exponentials: float
    vector: float
    launch: float
    memory: int
    peak: float
    float32_peak: float
    peak_bandwidth: float
    link: float


_TARGET = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: {shared} threads_per_core_limit: 2048 core_count: {cores}
  fpus_per_core: {lanes}
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: {bandwidth} l2_cache_size: {l2} clock_rate_ghz: {clock}
  device_memory_size: {memory} shared_memory_per_block_optin: {most_shared}
  cuda_compute_capability {{ major: {capability} }} registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 12 }}
runtime_version {{ major: 13 minor: 0 patch: 0 }}
device_description_str: "{description}"
"""

# Of the H100's data sheet what the largest products and streaming kernels reach; the others are
# taken to reach as much of theirs.
_PRODUCTS, _STREAMS, _FLOAT32 = 800 / 989, 3.0 / 3.35, 54 / 67


def _gpu(
    name: str,
    description: str,
    *,
    capability: int,
    cores: int,
    lanes: int,
    shared: int,
    l2: int,
    clock: float,
    steady: float,
    memory: int,
    peak: float,
    float32_peak: float,
    bandwidth: float,
    link: float,
) -> Gpu:
    """A device from its data sheet and the CUDA programming guide's tables.

    Args:
      capability: the compute capability's first number.
      cores, lanes: multiprocessors, and float32 units of each.
      shared: bytes of shared memory of a multiprocessor; a block may have all but 1 KiB.
      l2: bytes of the cache before the memory.
      clock, steady: GHz at most, and under load.
    """
    target = _TARGET.format(
        shared=shared, most_shared=shared - 1024, cores=cores, lanes=lanes, l2=l2, clock=clock,
        bandwidth=int(bandwidth), memory=memory, capability=capability, description=description,
    )  # fmt: skip
    return Gpu(
        name=name,
        target=target,
        flops=_PRODUCTS * peak,
        flops_by_dtype={"f32": _FLOAT32 * float32_peak},
        bandwidth=_STREAMS * bandwidth,
        exponentials=16 * cores * steady * 1e9,  # a cycle and multiprocessor, as the guide has it
        vector=lanes * cores * steady * 1e9,
        launch=3e-6,
        memory=memory,
        peak=peak,
        float32_peak=float32_peak,
        peak_bandwidth=bandwidth,
        link=link,
    )


_A100 = _gpu(
    "a100", "NVIDIA A100-SXM4-80GB", capability=8, cores=108, lanes=64, shared=164 << 10,
    l2=40 << 20, clock=1.41, steady=1.41, memory=79 << 30, peak=312e12, float32_peak=19.5e12,
    bandwidth=2.039e12, link=300e9,
)  # fmt: skip
_H100 = _gpu(
    "h100", "NVIDIA H100 80GB HBM3", capability=9, cores=132, lanes=128, shared=228 << 10,
    l2=50 << 20, clock=1.98, steady=1.75, memory=84_929_347_584, peak=989e12, float32_peak=67e12,
    bandwidth=3.35e12, link=450e9,
)  # fmt: skip
_H200 = _gpu(  # the same processors with more and faster memory
    "h200", "NVIDIA H200", capability=9, cores=132, lanes=128, shared=228 << 10,
    l2=50 << 20, clock=1.98, steady=1.75, memory=139 << 30, peak=989e12, float32_peak=67e12,
    bandwidth=4.8e12, link=450e9,
)  # fmt: skip
_B200 = _gpu(
    "b200", "NVIDIA B200", capability=10, cores=148, lanes=128, shared=228 << 10,
    l2=126 << 20, clock=1.965, steady=1.85, memory=178 << 30, peak=2250e12, float32_peak=75e12,
    bandwidth=7.7e12, link=900e9,
)  # fmt: skip
GPUS = {gpu.name: gpu for gpu in (_A100, _H100, _H200, _B200)}


def prepare() -> None:
    """Lets the CUDA plugin compile with no GPU; before JAX is imported.

    InputError without the plugin.
    """
    if importlib.util.find_spec("jax_plugins") is None or not any(
        importlib.util.find_spec(f"jax_plugins.xla_cuda{version}") for version in (12, 13)
    ):
        raise InputError(
            "compiling for a GPU needs its compiler, the CUDA plugin: pip install 'jax[cuda13]'",
            field="device",
        )
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    flags = os.environ.get("XLA_FLAGS", "")
    # Autotuning would time candidates on a device.
    os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_autotune_level=0".strip()


def devices(name: str, count: int = 1) -> list[Any]:
    """Devices of a described GPU, to compile for; after `prepare`."""
    from jax.experimental import topologies

    described = topologies.get_topology_desc(
        platform="cuda", topology=f"1x1x{count}", target_config=GPUS[name].target
    )
    return list(described.devices)

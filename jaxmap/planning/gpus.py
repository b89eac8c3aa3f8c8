"""GPUs as their vendor describes them, and the target that lets the CUDA plugin compile for one
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
      flops: 16-bit products and sums a second that the largest products reach (the data sheet's
        peak is 989e12).
      flops_by_dtype: the same for other operands, by HLO dtype.
      bandwidth: bytes a second that streaming kernels reach.
      exponentials: a second.
      vector: float32 operations a second outside the matrix units, a sum or product each.
      launch: seconds that every kernel costs beside its work.
      memory: bytes of high-bandwidth memory.
      peak, float32_peak: products and sums per second of the data sheet, dense: of 16-bit and of
        float32 operands.
      peak_bandwidth: bytes per second of the data sheet.
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


_H100 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 } registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 12 }
runtime_version { major: 13 minor: 0 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""

_H200_MEMORY = 139 << 30
_H200 = (
    _H100.replace("memory_bandwidth: 3352320000000", "memory_bandwidth: 4800000000000")
    .replace("device_memory_size: 84929347584", f"device_memory_size: {_H200_MEMORY}")
    .replace("NVIDIA H100 80GB HBM3", "NVIDIA H200")
)

# Exponentials and others: 16 and 128 a cycle on each of 132 multiprocessors at 1.75 GHz (CUDA
# programming guide, arithmetic instructions, compute capability 9.0).
_ONE_H100 = Gpu(
    name="h100",
    target=_H100,
    flops=800e12,
    flops_by_dtype={"f32": 54e12},
    bandwidth=3.0e12,
    exponentials=16 * 132 * 1.75e9,
    vector=128 * 132 * 1.75e9,
    launch=3e-6,
    memory=84_929_347_584,
    peak=989e12,
    float32_peak=67e12,
    peak_bandwidth=3.35e12,
)
# The same processors with more and faster memory.
_ONE_H200 = dataclasses.replace(
    _ONE_H100,
    name="h200",
    target=_H200,
    bandwidth=4.3e12,
    memory=_H200_MEMORY,
    peak_bandwidth=4.8e12,
)
GPUS = {gpu.name: gpu for gpu in (_ONE_H100, _ONE_H200)}


def prepare() -> None:
    """Lets the CUDA plugin compile with no GPU; before JAX is imported.

    InputError without the plugin.
    """
    if importlib.util.find_spec("jax_plugins") is None or not any(
        importlib.util.find_spec(f"jax_plugins.xla_cuda{version}") for version in (12, 13)
    ):
        raise InputError(
            "compiling for a GPU needs its compiler, the CUDA plugin: pip install 'jaxmap[cuda]'",
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

"""The memory that scoring needs, by compiling without running.

Nothing is allocated and no device is needed: a TPU or GPU that is not there can be described, see
`jaxmap.hardware.topology`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh

from jaxmap.checkpoint.host_memory import free_memory
from jaxmap.corpus.batches import row_length
from jaxmap.engine.scorer import BATCH_TOKENS, Scorer, kernels_for
from jaxmap.model import decoder
from jaxmap.model.mesh import Axes, axes_of, structs
from jaxmap.model.padding import padded_spec
from jaxmap.model.spec import Spec
from jaxmap.precision import PRECISIONS

# The axes of a mesh -> structure, parameter shapes and spec of the model that is in memory there.
OnDevices = Callable[[Axes], tuple[nnx.GraphDef, nnx.State, Spec]]

USABLE = 0.9  # share of a device's memory; the rest is for the runtime and for loading weights
_CONTEXT = 2048  # tokens assumed for the longest text if a model has no limit


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one device while it scores: weights and batch, intermediate arrays, results."""

    arguments: int
    temporaries: int
    output: int

    @property
    def total(self) -> int:
        """The sum, in bytes."""
        return self.arguments + self.temporaries + self.output

    @classmethod
    def of(cls, compiled: jax.stages.Compiled) -> Memory:
        """Reads the memory analysis of a compiled program."""
        found = compiled.memory_analysis()
        assert found is not None, "no memory analysis on this platform"
        return cls(
            found.argument_size_in_bytes,
            found.temp_size_in_bytes,
            found.output_size_in_bytes,
        )


def memory_of(lowered: jax.stages.Lowered) -> Memory | None:
    """The memory that a program needs; None if the compiler finds that a device has less."""
    try:
        return Memory.of(lowered.compile())
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return None
        raise


def of_floats(spec: Spec, weights: str, activations: str) -> OnDevices:
    """What is in the devices' memory of a model whose weights are all floats.

    Args:
      spec: the spec of the checkpoint.
      weights, activations: the dtypes of the weights and of the activations.
    """

    def on_devices(axes: Axes) -> tuple[nnx.GraphDef, nnx.State, Spec]:
        own = padded_spec(spec, axes)
        graph, shapes = decoder.abstract(own, jnp.dtype(activations))
        leaves = {
            path: leaf.replace(jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(weights)))
            if leaf.dtype == jnp.dtype(activations)
            else leaf
            for path, leaf in decoder.named(shapes).items()
        }
        return graph, decoder.from_named(leaves), own

    return on_devices


def on_devices_or_floats(
    spec: Spec, dtype: str, weights: str, on_devices: OnDevices | None
) -> OnDevices:
    """`on_devices`, or where it is None floats in the dtypes of the precision `dtype`."""
    precision = PRECISIONS[dtype]
    kind = precision.weights or weights or precision.activations
    return on_devices or of_floats(spec, kind, precision.activations)


def lower(
    spec: Spec,
    dtype: str,
    mesh: Mesh,
    *,
    weights: str = "",
    batch_tokens: int | None = None,
    row: int | None = None,
    reach: int | None = None,
    lens: bool = False,
    on_devices: OnDevices | None = None,
) -> jax.stages.Lowered:
    """The program that scores one batch, for the platform of the mesh's devices.

    Args:
      spec: the spec of the checkpoint.
      dtype: the precision, a key of PRECISIONS.
      mesh: the devices.
      weights: the dtype in which the weights are stored, for precisions that keep it.
      batch_tokens: tokens per batch and group of devices; None: the platform's default.
      row: tokens per row; None: those of the longest text that the model reads.
      reach: an upper bound on the tokens of a text; None: those of a row.
      lens: whether every layer is read.
      on_devices: what is on the devices; None: floats in the dtype that follows from `weights`.
    """
    axes = axes_of(mesh)
    platform = mesh.devices.flat[0].platform
    batch_tokens = batch_tokens or BATCH_TOKENS[platform]
    T = row or longest_row(spec)
    B = max(1, batch_tokens // T) * axes.rows
    graph, shapes, own = on_devices_or_floats(spec, dtype, weights, on_devices)(axes)
    scorer = Scorer(graph, dtype=dtype, mesh=mesh, **kernels_for(platform))
    return scorer.trace_shape(structs(shapes, own, mesh), B, T, reach=reach, lens=lens).lower()


def longest_row(spec: Spec) -> int:
    """The number of tokens of a row for the longest text that the model reads."""
    return row_length(min(spec.longest_text or _CONTEXT, _CONTEXT) - 1)


def device_memory(device: Any) -> int | None:
    """Bytes that this process may use of a device; None where nothing says."""
    if device.platform == "cpu":
        return free_memory() // max(1, jax.local_device_count())
    stats = device.memory_stats() or {}
    return stats.get("bytes_limit")

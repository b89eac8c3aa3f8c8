"""Finds the largest batch, and a mesh, that fit in memory, by compiling without running.

Nothing is allocated and no device is needed: a TPU topology can be described without a TPU, see
`mesh.make`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from flax import nnx
from jax.sharding import Mesh

from jaxmap.checkpoint.memory import free_memory
from jaxmap.corpus.batches import row_length
from jaxmap.engine.scorer import BATCH_TOKENS, Scorer, kernels_for
from jaxmap.errors import InputError
from jaxmap.model import decoder
from jaxmap.model.mesh import Axes, axes_of, bytes_of, make, parse, structs
from jaxmap.model.padding import padded_spec
from jaxmap.model.spec import Spec
from jaxmap.precision import PRECISIONS

# The axes of a mesh -> structure, parameter shapes and spec of the model that is held on it.
Held = Callable[[Axes], tuple[nnx.GraphDef, nnx.State, Spec]]

USABLE = 0.9  # share of a device's memory; the rest is for the runtime and for loading weights
_LARGEST = 64  # the largest batch that is tried, in batches of the default size
_CONTEXT = 2048  # tokens assumed for the longest text if a model has no limit


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of one device while it scores: weights and batch, intermediate arrays, results."""

    arguments: int
    temporaries: int
    output: int

    @property
    def total(self) -> int:
        return self.arguments + self.temporaries + self.output

    @classmethod
    def of(cls, compiled: jax.stages.Compiled) -> Memory:
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


def of_floats(spec: Spec, weights: str, activations: str) -> Held:
    """What is held of a model whose weights are all floats.

    Args:
      spec: the spec of the checkpoint.
      weights, activations: the dtypes of the weights and of the activations.
    """

    def held(axes: Axes) -> tuple[nnx.GraphDef, nnx.State, Spec]:
        own = padded_spec(spec, axes)
        graph, shapes = decoder.abstract(own, jnp.dtype(activations))
        leaves = {
            path: leaf.replace(jax.ShapeDtypeStruct(leaf.shape, jnp.dtype(weights)))
            if leaf.dtype == jnp.dtype(activations)
            else leaf
            for path, leaf in decoder.named(shapes).items()
        }
        return graph, decoder.from_named(leaves), own

    return held


def _held(spec: Spec, dtype: str, weights: str, held: Held | None) -> Held:
    precision = PRECISIONS[dtype]
    kind = precision.weights or weights or precision.activations
    return held or of_floats(spec, kind, precision.activations)


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
    held: Held | None = None,
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
      held: what is on the devices; None: floats in the dtype that follows from `weights`.
    """
    axes = axes_of(mesh)
    platform = mesh.devices.flat[0].platform
    batch_tokens = batch_tokens or BATCH_TOKENS[platform]
    T = row or longest_row(spec)
    B = max(1, batch_tokens // T) * axes.rows
    graph, shapes, own = _held(spec, dtype, weights, held)(axes)
    scorer = Scorer(graph, dtype=dtype, mesh=mesh, **kernels_for(platform))
    return scorer.trace_shape(structs(shapes, own, mesh), B, T, reach=reach, lens=lens).lower()


def longest_row(spec: Spec) -> int:
    """The number of tokens of a row for the longest text that the model reads."""
    return row_length(min(spec.context or _CONTEXT, _CONTEXT) - 1)


def largest(
    memory: Callable[[int], Memory | None],
    needed: Memory | None,
    batch: int,
    row: int,
    room: float,
    *,
    most: int | None = None,
    tell: Callable[[], object] = lambda: None,
) -> int | None:
    """The number of tokens of the largest batch that was found to fit; None if no row fits.

    Memory grows almost linearly with the batch. Two batch sizes are compiled, the largest size is
    extrapolated from them, compiled as well, and reduced until it fits. If the larger of the first
    two does not compile, a fraction of its size is tried instead.

    Args:
      memory: tokens of a batch -> the memory it needs, by compiling.
      needed: `memory(batch)`.
      batch: the batch size to begin with, in tokens.
      row: the number of tokens per row; batches are whole rows.
      room: the bytes of a device that may be used.
      most: the number of tokens beyond which nothing is gained; None: _LARGEST times `batch`.
      tell: called after each compilation.
    """
    if needed is None or needed.total > room:
        if batch <= row:
            return None
        smaller = memory(row)
        tell()
        if smaller is None or smaller.total > room:
            return None
        low, small, high, large = row, smaller, batch, needed
    else:
        low, small, high = batch, needed, 2 * batch
        large = memory(high)
        tell()
    best, guess, step = low, 0.75 * high, 0.75
    if large is not None:
        slope = max((large.total - small.total) / (high - low), 1e-9)
        guess, step = low + (room - small.total) / slope, 0.9
        best = high if large.total <= room else low
    guess = min(guess, most or _LARGEST * batch)
    while (tried := int(guess) // row * row) > best:
        found = memory(tried)
        tell()
        if found is not None and found.total <= room:
            return tried
        guess *= step
    return best


def largest_batch(
    spec: Spec,
    dtype: str,
    mesh: Mesh | None,
    *,
    weights: str,
    lens: bool,
    most: int,
    held: Held | None = None,
) -> int:
    """The number of tokens per group of devices of the largest batch that fits in memory.

    It is the platform's default if the size of the memory is unknown, or if even the default does
    not fit by the compiler's estimate.

    Args:
      spec, dtype, mesh, weights, lens, held: see `lower`.
      most: the number of tokens with which all texts are in one batch.
    """
    mesh = mesh or make(Axes(), jax.local_devices()[:1])
    row, batch = longest_row(spec), BATCH_TOKENS[mesh.devices.flat[0].platform]
    limit = device_memory(jax.local_devices()[0])
    if limit is None or most <= batch:
        return batch

    def memory(tokens: int) -> Memory | None:
        options = dict(
            weights=weights, batch_tokens=tokens, row=min(row, tokens), lens=lens, held=held
        )
        return memory_of(lower(spec, dtype, mesh, **options))  # type: ignore[arg-type]

    found = largest(memory, memory(batch), batch, min(row, batch), USABLE * limit, most=most)
    logging.info("largest batch that fits: %d tokens", found or batch)
    return found or batch


def device_memory(device: Any) -> int | None:
    """Bytes that this process may use of a device; None where nothing says."""
    if device.platform == "cpu":
        return free_memory() // max(1, jax.local_device_count())
    stats = device.memory_stats() or {}
    return stats.get("bytes_limit")


def choose(
    spec: Spec,
    dtype: str,
    devices: Sequence[Any],
    *,
    limit: int | None,
    weights: str = "",
    batch_tokens: int | None = None,
    lens: bool = False,
    held: Held | None = None,
    tell: Callable[[], object] = lambda: None,
) -> tuple[Axes, Memory | None]:
    """Chooses the smallest "model" axis with which a batch fits; the other devices are "data".

    Args:
      spec, dtype, weights, batch_tokens, lens, held: see `lower`.
      devices: the devices to use.
      limit: bytes of one device; None: everything is assumed to fit, and nothing is compiled.
      tell: called after each compilation.

    Returns the axes and the memory that one device needs, which is None without a limit.

    Raises:
      InputError: when the model does not fit on all devices together.
    """
    count = len(devices)
    held = _held(spec, dtype, weights, held)
    need = 0
    for model in (m for m in range(1, count + 1) if count % m == 0):
        axes = Axes(data=count // model, model=model)
        if limit is None:
            return axes, None
        _, shapes, own = held(axes)
        need = bytes_of(shapes, own, axes)
        if need > USABLE * limit:
            continue
        options = dict(batch_tokens=batch_tokens, lens=lens, held=held)
        found = memory_of(lower(spec, dtype, make(axes, devices), **options))  # type: ignore[arg-type]
        tell()
        need = limit if found is None else found.total
        if found is not None and need <= USABLE * limit:
            return axes, found
    assert limit is not None
    raise InputError(
        f"needs {need / 1e9:.1f} GB per device on {count} devices, which have "
        f"{limit / 1e9:.1f}; use more devices, a smaller `batch_tokens`, or `dtype=bfloat16`",
        field="mesh",
        value="auto",
    )


def mesh_for(
    text: str | None,
    spec: Spec,
    dtype: str,
    weights: str = "",
    *,
    batch_tokens: int | None = None,
    lens: bool = False,
    held: Held | None = None,
) -> Mesh | None:
    """The mesh for what a user typed, see `mesh.parse`; None for a single device.

    Without `text` it is None if there is one device, otherwise the same as for "auto". The other
    arguments are those of `lower`.
    """
    devices = jax.devices()
    if text is None and len(devices) == 1:
        return None
    axes = parse(text or "auto")
    if axes is None:
        limit = device_memory(jax.local_devices()[0])
        options = dict(weights=weights, batch_tokens=batch_tokens, lens=lens, held=held)
        axes, _ = choose(spec, dtype, devices, limit=limit, **options)  # type: ignore[arg-type]
        logging.info("mesh that fits: %s", axes)
    return None if axes.size == 1 and len(devices) == 1 else make(axes)

"""The largest batch that fits in a device's memory, found by compiling."""

from __future__ import annotations

from collections.abc import Callable

import jax
from absl import logging
from jax.sharding import Mesh

from jaxmap.engine.device_memory import (
    USABLE,
    Memory,
    OnDevices,
    device_memory,
    longest_row,
    lower,
    memory_of,
)
from jaxmap.engine.scorer import BATCH_TOKENS
from jaxmap.model.mesh import Axes, make
from jaxmap.model.spec import Spec

_LARGEST = 64  # the largest batch that is tried, in batches of the default size


def largest(
    memory: Callable[[int], Memory | None],
    needed: Memory | None,
    batch: int,
    row: int,
    available: float,
    *,
    most: int | None = None,
    progress: Callable[[], object] = lambda: None,
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
      available: the bytes of a device that may be used.
      most: the number of tokens beyond which nothing is gained; None: _LARGEST times `batch`.
      progress: called after each compilation.
    """
    if needed is None or needed.total > available:
        if batch <= row:
            return None
        smaller = memory(row)
        progress()
        if smaller is None or smaller.total > available:
            return None
        low, small, high, large = row, smaller, batch, needed
    else:
        low, small, high = batch, needed, 2 * batch
        large = memory(high)
        progress()
    best, guess, step = low, 0.75 * high, 0.75
    if large is not None:
        slope = max((large.total - small.total) / (high - low), 1e-9)
        guess, step = low + (available - small.total) / slope, 0.9
        best = high if large.total <= available else low
    guess = min(guess, most or _LARGEST * batch)
    while (tried := int(guess) // row * row) > best:
        found = memory(tried)
        progress()
        if found is not None and found.total <= available:
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
    on_devices: OnDevices | None = None,
) -> int:
    """The number of tokens per group of devices of the largest batch that fits in memory.

    It is the platform's default if the size of the memory is unknown, or if even the default does
    not fit by the compiler's estimate.

    Args:
      spec, dtype, mesh, weights, lens, on_devices: see `lower`.
      most: the number of tokens with which all texts are in one batch.
    """
    mesh = mesh or make(Axes(), jax.local_devices()[:1])
    row, batch = longest_row(spec), BATCH_TOKENS[mesh.devices.flat[0].platform]
    limit = device_memory(jax.local_devices()[0])
    if limit is None or most <= batch:
        return batch

    def memory(tokens: int) -> Memory | None:
        options = dict(
            weights=weights,
            batch_tokens=tokens,
            row=min(row, tokens),
            lens=lens,
            on_devices=on_devices,
        )
        return memory_of(lower(spec, dtype, mesh, **options))  # type: ignore[arg-type]

    found = largest(memory, memory(batch), batch, min(row, batch), USABLE * limit, most=most)
    logging.info("largest batch that fits: %d tokens", found or batch)
    return found or batch

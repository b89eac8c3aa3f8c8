"""The scan over the vocabulary on a GPU: a Pallas kernel, compiled by Triton.

Logits stay on the chip. Each program takes a tile of tokens and a part of the vocabulary. It goes
over the tiles of that part and keeps the running maximum and sums of `blockwise_softmax`,
and those of accumulators; the parts are joined at the end. In array names, N is tokens, E channels,
V the vocabulary, W the entries of a tile and P the parts.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from jaxmap.engine.accumulators import joined_parts
from jaxmap.engine.blockwise_softmax import Distribution, Distributions
from jaxmap.engine.unembedding import Unembedding
from jaxmap.model.layers.logits import LogitAdjustment

COMPUTED = ("centred", "above", "top")  # accumulators
_ROWS = 128  # tokens of a tile
_COLUMNS = 128  # entries of the vocabulary in a tile
_CHANNELS = 64  # channels that are multiplied at a time
_PROGRAMS = 1024  # about so many are started, which is several for each multiprocessor
_LOWEST = float(jnp.finfo(jnp.float32).min)
_LAST = jnp.iinfo(jnp.int32).max


def supported(
    hidden_NE: jax.Array, unembedding: Unembedding, accumulators: tuple[str, ...]
) -> bool:
    """Whether the kernel takes states and an unembedding of these shapes and dtypes.

    They must have 16 bits, and tiles must be whole.
    """
    (N, E), head_VE = hidden_NE.shape, unembedding.head_VE
    return (
        set(accumulators) <= set(COMPUTED)
        and hidden_NE.dtype in (jnp.bfloat16, jnp.float16)
        and head_VE.dtype == hidden_NE.dtype
        and N % _ROWS == 0
        and E % _CHANNELS == 0
        and head_VE.shape[0] >= _COLUMNS
        and isinstance(unembedding.adjust, LogitAdjustment)
    )


def scan(
    hidden_NE: jax.Array,
    unembedding: Unembedding,
    target_N: jax.Array,
    target_logit_N: jax.Array,
    accumulators: tuple[str, ...],
    first: jax.Array | int,
    *,
    begin: jax.Array | int = 0,
    most: int | None = None,
    interpret: bool = False,
) -> tuple[Distribution, dict[str, Any]]:
    """Scans the rows of the unembedding; see `jaxmap.engine.readout_tpu.scan`."""
    (N, E), V = hidden_NE.shape, unembedding.head_VE.shape[0]
    bias_V = unembedding.bias_V
    biases = () if bias_V is None else (bias_V.astype(jnp.float32),)
    numbers = (unembedding.tokens_from(first), first, begin)
    numbers_3 = jnp.stack([jnp.asarray(number, jnp.int32) for number in numbers])
    tiles = pl.cdiv(V, _COLUMNS)
    if most is not None:
        tiles = min(tiles, pl.cdiv(most, _COLUMNS) + 1)
    per_part = pl.cdiv(tiles, min(tiles, pl.cdiv(_PROGRAMS, N // _ROWS)))
    parts = pl.cdiv(tiles, per_part)
    adjust = unembedding.adjust
    assert isinstance(adjust, LogitAdjustment), adjust
    exponentials = 2 if adjust.softcap else 1  # of a logit
    dtypes = {"above": jnp.int32, "top": jnp.int32}
    kinds = [jnp.float32, jnp.float32, *(dtypes.get(name, jnp.float32) for name in accumulators)]
    of_tokens = pl.BlockSpec((_ROWS,), lambda n, p: (n,))
    found = pl.pallas_call(
        partial(
            _kernel, per_part=per_part, biased=bool(biases), adjust=adjust,
            accumulators=accumulators,
        ),
        grid=(N // _ROWS, parts),
        in_specs=[
            pl.BlockSpec((3,), lambda n, p: (0,)),
            of_tokens,
            of_tokens,
            pl.BlockSpec((_ROWS, E), lambda n, p: (n, 0)),
            pl.BlockSpec((V, E), lambda n, p: (0, 0)),
            *[pl.BlockSpec((V,), lambda n, p: (0,))] * len(biases),
        ],
        out_specs=[pl.BlockSpec((None, _ROWS), lambda n, p: (p, n))] * len(kinds),
        out_shape=[jax.ShapeDtypeStruct((parts, N), kind) for kind in kinds],
        compiler_params=plgpu.CompilerParams(num_warps=8, num_stages=3),
        metadata={
            "flops": str(2 * N * tiles * _COLUMNS * E),
            "transcendentals": str(N * tiles * _COLUMNS * exponentials),
            "bytes_accessed": str(
                hidden_NE.nbytes
                + min(V, tiles * _COLUMNS) * E * unembedding.head_VE.dtype.itemsize
                + 4 * parts * N * len(kinds)
            ),
        },
        interpret=interpret,
        name="readout",
    )(numbers_3, target_N, target_logit_N, hidden_NE, unembedding.head_VE, *biases)  # fmt: skip
    max_PN, sum_PN, *sums = found
    by_name = dict(zip(accumulators, sums, strict=True))
    if "top" in by_name:
        by_name["top"] = by_name["top"], max_PN
    over, results = joined_parts(Distributions(Distribution(max_PN, sum_PN)), by_name)
    return over.model, results


def _kernel(
    numbers_ref,
    target_ref,
    target_logit_ref,
    hidden_ref,
    head_ref,
    *refs,
    per_part: int,
    biased: bool,
    adjust: LogitAdjustment,
    accumulators: tuple[str, ...],
):
    """One program: a tile of tokens and `per_part` tiles of the vocabulary."""
    E, V = hidden_ref.shape[1], head_ref.shape[0]
    count, first, least = numbers_ref[0], numbers_ref[1], numbers_ref[2]
    target_N, target_logit_N = target_ref[...], target_logit_ref[...]
    begin_tile = least // _COLUMNS + pl.program_id(1) * per_part
    end_tile = jnp.minimum(begin_tile + per_part, pl.cdiv(count, _COLUMNS))

    def tile(w, carry):
        before_N, sum_N, *sums = carry
        # The last tile starts earlier, so that it is whole; its first rows were seen before.
        begin = jnp.minimum(w * _COLUMNS, V - _COLUMNS)
        rows = pl.ds(begin, _COLUMNS)

        def multiply(k, logit_NW):
            channels = pl.ds(k * _CHANNELS, _CHANNELS)
            return logit_NW + plgpu.dot(hidden_ref[:, channels], head_ref[rows, channels].T)

        logit_NW = jax.lax.fori_loop(
            0, E // _CHANNELS, multiply, jnp.zeros((_ROWS, _COLUMNS), jnp.float32)
        )
        logit_NW = adjusted(adjust, logit_NW, refs[0][rows][None] if biased else None)
        row_W = begin + jnp.arange(_COLUMNS)
        valid_W = (row_W >= jnp.maximum(w * _COLUMNS, least)) & (row_W < count)
        valid_NW = jnp.broadcast_to(valid_W[None], logit_NW.shape)
        shown_NW = jnp.where(valid_NW, logit_NW, _LOWEST)
        new_N = jnp.max(shown_NW, axis=1)
        max_N = jnp.maximum(before_N, new_N)
        centred_NW = shown_NW - max_N[:, None]
        exp_NW = jnp.where(valid_NW, jnp.exp(centred_NW), 0.0)
        shrunk_N = jnp.exp(before_N - max_N)
        id_NW = jnp.broadcast_to((row_W + first)[None], logit_NW.shape)
        after = []
        for name, now_N in zip(accumulators, sums, strict=True):
            if name == "centred":
                shift_N = jnp.where(sum_N > 0, before_N - max_N, 0.0)
                new_sum_N = jnp.sum(jnp.where(valid_NW, exp_NW * centred_NW, 0.0), axis=1)
                after.append(shrunk_N * (now_N + shift_N * sum_N) + new_sum_N)
            elif name == "top":
                best_N = jnp.min(jnp.where(shown_NW == new_N[:, None], id_NW, _LAST), axis=1)
                after.append(jnp.where(new_N > before_N, best_N, now_N))
            else:
                above_NW = (id_NW != target_N[:, None]) & valid_NW
                above_NW &= logit_NW > target_logit_N[:, None]
                after.append(now_N + jnp.sum(jnp.where(above_NW, 1, 0), axis=1))
        return (max_N, sum_N * shrunk_N + jnp.sum(exp_NW, axis=1), *after)

    def nothing(dtype: Any) -> jax.Array:
        return jnp.zeros(_ROWS, dtype)

    outputs = refs[biased:]
    start = [jnp.full(_ROWS, _LOWEST, jnp.float32), *(nothing(ref.dtype) for ref in outputs[1:])]
    found = jax.lax.fori_loop(begin_tile, end_tile, tile, tuple(start))
    for ref, result_N in zip(outputs, found, strict=True):
        ref[...] = result_N


def adjusted(adjust: LogitAdjustment, logit_NW: jax.Array, bias_1W: jax.Array | None) -> jax.Array:
    """`adjust` with the cap's hyperbolic tangent in exponentials: Triton has none of its own."""
    logit_NW = dataclasses.replace(adjust, softcap=0.0)(logit_NW, bias_1W)
    if not adjust.softcap:
        return logit_NW
    return adjust.softcap * (2 / (1 + jnp.exp(logit_NW * (-2 / adjust.softcap))) - 1)

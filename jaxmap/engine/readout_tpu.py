"""The scan over the vocabulary on a TPU: a Pallas kernel that keeps its logits on the chip.

A step multiplies a tile of tokens with a tile of the unembedding. Over the tiles of the vocabulary
it keeps the running maximum and sums of `blockwise_softmax`, and those of accumulators. In
array names, N is tokens, E channels, V the vocabulary and W the entries of a tile.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxmap.engine.blockwise_softmax import Distribution
from jaxmap.engine.unembedding import Unembedding
from jaxmap.model.layers.linear import bfloat16_passes, halves

ACCUMULATORS = ("centred", "above", "top")  # those that the kernel computes
_LANES = 128
_COLUMNS = 512  # entries of the vocabulary in a tile
_ROWS = (1024, 512, 256, 128)  # tokens in a tile, the first number that fits
_TILES = 20 << 20  # the most bytes of the tiles of states and of the unembedding, two of each
_VMEM = 48 << 20  # the most bytes of the chip's own memory that a step uses
_LAST = jnp.iinfo(jnp.int32).max


def parts_of(
    hidden_NE: jax.Array, head_VE: jax.Array
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """What the matrix units multiply: states and head, or their bfloat16 halves, see `multiply`."""
    if hidden_NE.dtype == jnp.bfloat16 or head_VE.dtype == jnp.float16:
        head_VE = head_VE.astype(hidden_NE.dtype)

    def parts(x: jax.Array) -> tuple[jax.Array, ...]:
        if x.dtype == jnp.bfloat16:
            return (x,)
        return halves(x.astype(jnp.float32)) if bfloat16_passes() else (x.astype(jnp.float32),)

    return parts(hidden_NE), parts(head_VE)


def product(a_refs: Sequence[Any], b_refs: Sequence[Any]) -> jax.Array:
    """The product of two matrices by their rows, [A, E] and [B, E] to float32 [A, B].

    The references are to the parts of each, see `parts_of`.
    """

    def of(a_ref, b_ref) -> jax.Array:
        precision = jax.lax.Precision.HIGHEST if a_ref.dtype == jnp.float32 else None
        return jax.lax.dot_general(
            a_ref[...], b_ref[...], (((1,), (1,)), ((), ())), precision=precision,
            preferred_element_type=jnp.float32,
        )  # fmt: skip

    # Smallest first.
    pairs = [(a, b) for a in range(len(a_refs)) for b in range(len(b_refs)) if a + b < 2]
    return sum(
        (of(a_refs[a], b_refs[b]) for a, b in sorted(pairs, reverse=True)),
        start=jnp.zeros((), jnp.float32),
    )


def _rows(N: int, E: int, dtype: Any, head_dtype: Any) -> int:
    """The number of tokens in a tile; 0 if not even the fewest fit."""
    size = {jnp.bfloat16: 2}.get(jnp.dtype(dtype).type, 4)
    head_size = {jnp.bfloat16: 2}.get(jnp.dtype(head_dtype).type, 4)
    for rows in _ROWS:
        tiles = 2 * E * (rows * size + _COLUMNS * head_size)
        if N % rows == 0 and tiles <= _TILES:
            return rows
    return 0


def supported(
    hidden_NE: jax.Array, unembedding: Unembedding, accumulators: tuple[str, ...]
) -> bool:
    """Whether the kernel takes states and an unembedding of these shapes and dtypes.

    The states must be bfloat16 or float32, which the matrix units multiply, and tiles must be
    whole and fit on the chip.
    """
    (N, E), head_VE = hidden_NE.shape, unembedding.head_VE
    return (
        set(accumulators) <= set(ACCUMULATORS)
        and hidden_NE.dtype in (jnp.bfloat16, jnp.float32)
        and E % _LANES == 0
        and _rows(N, E, hidden_NE.dtype, head_VE.dtype) > 0
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
    """Scans the rows of the unembedding that are tokens, from row `begin` on.

    Args:
      hidden_NE, unembedding: states and their unembedding, of which `supported` is true.
      target_N, target_logit_N: the ids of the next tokens, and their logits.
      accumulators: names in ACCUMULATORS.
      first: the token id of the first row, which is not 0 if a mesh divides the vocabulary.
      most: an upper bound on the number of these rows; None: all may be.
      interpret: whether to interpret the kernel on any platform.

    Returns the distribution, and the final state of each accumulator by its name.
    """
    (N, E), V = hidden_NE.shape, unembedding.head_VE.shape[0]
    rows = _rows(N, E, hidden_NE.dtype, unembedding.head_VE.dtype)
    states, heads = parts_of(hidden_NE, unembedding.head_VE)
    bias = unembedding.bias_V
    biases = () if bias is None else (bias.astype(jnp.float32)[None],)
    numbers = (unembedding.tokens_from(first), first, begin, begin // _COLUMNS)
    numbers_4 = jnp.stack([jnp.asarray(number, jnp.int32) for number in numbers])
    column = pl.BlockSpec((rows, _LANES), lambda n, w, *_: (n, 0))
    own = pl.BlockSpec((1, 1, rows), lambda n, w, *_: (n, 0, 0))
    dtypes = {"top": jnp.int32, "above": jnp.int32}
    kinds = [jnp.float32, jnp.float32, *(dtypes.get(name, jnp.float32) for name in accumulators)]
    products = len(states) + len(heads) - 1
    passes = products if bfloat16_passes() or hidden_NE.dtype == jnp.bfloat16 else 6
    last = pl.cdiv(V, _COLUMNS) - 1
    tiles = last + 1 if most is None else min(last + 1, pl.cdiv(most, _COLUMNS) + 1)

    def block(w, numbers_ref):  # beyond the last, nothing is computed, so that nothing is read
        return jnp.minimum(numbers_ref[3] + w, last)

    exponentials = 2 if getattr(unembedding.adjust, "softcap", 0) else 1  # of a logit
    found = pl.pallas_call(
        partial(
            _kernel, states=len(states), biased=bool(biases), bounded=most is not None,
            adjust=unembedding.adjust, accumulators=accumulators,
        ),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(N // rows, tiles),
            in_specs=[
                own,
                own,
                *[pl.BlockSpec((rows, E), lambda n, w, *_: (n, 0))] * len(states),
                *[pl.BlockSpec((_COLUMNS, E), lambda n, w, at: (block(w, at), 0))] * len(heads),
                *[pl.BlockSpec((1, _COLUMNS), lambda n, w, at: (0, block(w, at)))] * len(biases),
            ],
            out_specs=[column] * len(kinds),
        ),
        out_shape=[jax.ShapeDtypeStruct((N, _LANES), kind) for kind in kinds],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=_VMEM
        ),
        cost_estimate=pl.CostEstimate(
            flops=2 * N * tiles * _COLUMNS * E * passes,
            transcendentals=N * tiles * _COLUMNS * exponentials,
            bytes_accessed=sum(x.nbytes for x in states)
            + N // rows * tiles * _COLUMNS * E * sum(x.dtype.itemsize for x in heads)
            + 4 * N * _LANES * len(kinds),
        ),
        interpret=interpret,
        name="readout",
    )(
        numbers_4,
        target_N.reshape(-1, 1, rows),
        target_logit_N.reshape(-1, 1, rows),
        *states,
        *heads,
        *biases,
    )  # fmt: skip
    max_N, sum_N, *sums = (x[:, 0] for x in found)
    results = dict(zip(accumulators, sums, strict=True))
    if "top" in results:
        results["top"] = (results["top"], max_N)
    return Distribution(max_N, sum_N), results


def _kernel(
    numbers_ref,
    target_ref,
    target_logit_ref,
    *refs,
    states: int,
    biased: bool,
    bounded: bool,
    adjust: Any,
    accumulators: tuple[str, ...],
):
    outputs = 2 + len(accumulators)
    inputs, (max_ref, sum_ref, *sum_refs) = refs[:-outputs], refs[-outputs:]
    heads = inputs[states : len(inputs) - biased]
    W = heads[0].shape[0]
    rows = max_ref.shape[0]
    w = pl.program_id(1)

    @pl.when(w == 0)
    def _():
        max_ref[...] = jnp.full_like(max_ref, jnp.finfo(jnp.float32).min)
        for ref in (sum_ref, *sum_refs):
            ref[...] = jnp.zeros_like(ref)

    logit_NW = product(inputs[:states], heads)
    logit_NW = adjust(logit_NW, inputs[-1][...] if biased else None)
    row_NW = jax.lax.broadcasted_iota(jnp.int32, (rows, W), 1)
    if bounded:
        row_NW += (numbers_ref[3] + w) * W
        valid_NW = (row_NW >= numbers_ref[2]) & (row_NW < numbers_ref[0])
    else:
        row_NW += w * W
        valid_NW = row_NW < numbers_ref[0]
    before_N1 = max_ref[:, :1]
    shown_NW = jnp.where(valid_NW, logit_NW, jnp.finfo(jnp.float32).min)
    new_N1 = jnp.max(shown_NW, axis=1, keepdims=True)
    max_N1 = jnp.maximum(before_N1, new_N1)
    centred_NW = shown_NW - max_N1
    exp_NW = jnp.where(valid_NW, jnp.exp(centred_NW), 0)
    shrunk_N1 = jnp.exp(before_N1 - max_N1)
    sum_before_N1 = sum_ref[:, :1]

    def put(ref, x_N1: jax.Array) -> None:
        ref[...] = jnp.broadcast_to(x_N1, ref.shape)

    for name, ref in zip(accumulators, sum_refs, strict=True):
        now_N1 = ref[:, :1]
        if name == "centred":
            shift_N1 = jnp.where(sum_before_N1 > 0, before_N1 - max_N1, 0)
            new = jnp.sum(jnp.where(valid_NW, exp_NW * centred_NW, 0), axis=1, keepdims=True)
            put(ref, shrunk_N1 * (now_N1 + shift_N1 * sum_before_N1) + new)
        elif name == "top":
            id_NW = jnp.where(shown_NW == new_N1, row_NW + numbers_ref[1], _LAST)
            best_N1 = jnp.min(id_NW, axis=1, keepdims=True)
            higher_N1 = (new_N1 > before_N1) | (w == 0)
            put(ref, jnp.where(higher_N1, best_N1, now_N1))
        else:
            target_N1 = column(target_ref[0], rows)
            target_logit_N1 = column(target_logit_ref[0], rows)
            other_NW = (row_NW + numbers_ref[1] != target_N1) & valid_NW
            above_NW = jnp.where(other_NW & (logit_NW > target_logit_N1), 1, 0)
            put(ref, now_N1 + jnp.sum(above_NW, axis=1, keepdims=True))
    put(sum_ref, sum_before_N1 * shrunk_N1 + jnp.sum(exp_NW, axis=1, keepdims=True))
    put(max_ref, max_N1)


def column(x_1N: jax.Array, rows: int) -> jax.Array:
    """A row of a kernel as a column, [rows, 1]."""
    return jnp.broadcast_to(x_1N, (_LANES, rows)).T[:, :1]

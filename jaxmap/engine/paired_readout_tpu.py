"""The scan over the vocabulary of two models on a TPU: a Pallas kernel for both heads.

As `readout_tpu`, but a step multiplies the states of both models with a tile of their unembeddings,
and neither's logits reach the memory. A tile of logits has its tokens in the lanes, so that what is
known of a token takes a lane and not a vector. In array names, N is tokens, E channels, V the
vocabulary and W the entries of a tile.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from jaxmap.engine import paired_sums, readout_tpu
from jaxmap.engine.accumulators import LIKELIEST
from jaxmap.engine.blockwise_softmax import Distribution
from jaxmap.engine.readout_tpu import column, parts_of, product
from jaxmap.engine.unembedding import Reference, Unembedding
from jaxmap.model.layers.linear import bfloat16_passes

# Tokens and entries. The more tokens, the more rarely the heads are read.
_TILES = ((1024, 512), (512, 512), (512, 256), (256, 512), (256, 256), (128, 512), (128, 256))
_BYTES = 40 << 20  # the most bytes of tiles and of what is computed from one
_VMEM = 56 << 20  # the most bytes of the chip's own memory that a step uses
_LISTED = 8  # rows of a list, of which the first are the likeliest tokens


def _tile(sides: list[tuple[jax.Array, Unembedding]]) -> tuple[int, int]:
    """The numbers of tokens and of entries in a tile; zeros if not even the smallest fits."""
    N = sides[0][0].shape[0]
    for rows, columns in _TILES:
        taken = 6 * 4 * rows * columns
        for hidden_NE, unembedding in sides:
            sizes = [2 if x.dtype == jnp.bfloat16 else 4 for x in (hidden_NE, unembedding.head_VE)]
            taken += 2 * hidden_NE.shape[1] * (rows * sizes[0] + columns * sizes[1])
        if N % rows == 0 and taken <= _BYTES:
            return rows, columns
    return 0, 0


def supported(
    hidden_NE: jax.Array,
    unembedding: Unembedding,
    reference: Reference,
    accumulators: tuple[str, ...],
) -> bool:
    """Whether the kernel takes two models' states and unembeddings, see `readout_tpu.supported`."""
    sides = [(hidden_NE, unembedding), (reference.states, reference.unembedding)]
    return (
        set(accumulators) <= {*paired_sums.SUMS, *paired_sums.LISTS}
        and all(readout_tpu.supported(*side, ()) for side in sides)
        and min(_tile(sides)) > 0
    )


def scan(
    hidden_NE: jax.Array,
    unembedding: Unembedding,
    reference: Reference,
    count: jax.Array,
    target_N: jax.Array,
    target_logit_N: jax.Array,
    accumulators: tuple[str, ...],
    first: jax.Array | int,
    *,
    interpret: bool = False,
) -> tuple[Distribution, Distribution, dict[str, Any]]:
    """Scans the first `count` rows, int32, which are tokens of both models.

    Args:
      reference: of as many rows as the unembedding.
      hidden_NE, unembedding, target_N, target_logit_N, first, interpret: see `readout_tpu.scan`.
      accumulators: names in `paired_sums.SUMS` and `paired_sums.LISTS`.

    Returns the distributions of the model and of the reference over these rows, and the final state
    of each accumulator by its name.
    """
    N, V = hidden_NE.shape[0], unembedding.head_VE.shape[0]
    sides = [(hidden_NE, unembedding), (reference.states, reference.unembedding)]
    rows, columns = _tile(sides)
    of_tokens = pl.BlockSpec((1, 1, rows), lambda n, w, *_: (n, 0, 0))
    specs, inputs, counts, flops, read = [of_tokens, of_tokens], [], [], 0, 0
    tiles = pl.cdiv(V, columns)
    for hidden, head in sides:
        states, heads = parts_of(hidden, head.head_VE)
        biases = [] if head.bias_V is None else [head.bias_V.astype(jnp.float32)[None]]
        E = hidden.shape[1]
        specs += [pl.BlockSpec((rows, E), lambda n, w, *_: (n, 0))] * len(states)
        specs += [pl.BlockSpec((columns, E), lambda n, w, *_: (w, 0))] * len(heads)
        specs += [pl.BlockSpec((1, columns), lambda n, w, *_: (0, w))] * len(biases)
        inputs += [*states, *heads, *biases]
        counts.append((len(states), len(heads), len(biases)))
        passes = len(states) + len(heads) - 1
        if hidden.dtype != jnp.bfloat16 and not bfloat16_passes():
            passes = 6
        flops += 2 * N * tiles * columns * E * passes
        read += sum(x.nbytes for x in states) + N // rows * sum(x.nbytes for x in heads)
    names, dtypes, lists = paired_sums.outputs(accumulators)
    heights = [1] * len(names) + [_LISTED] * 2 * len(lists)
    dtypes += [jnp.int32, jnp.float32] * len(lists)
    adjusts = [head.adjust for _, head in sides]
    exponentials = paired_sums.exponentials(accumulators, adjusts)
    found = pl.pallas_call(
        partial(_kernel, counts=counts, adjusts=adjusts, names=names, lists=lists),
        grid_spec=pltpu.PrefetchScalarGridSpec(
            num_scalar_prefetch=1,
            grid=(N // rows, tiles),
            in_specs=specs,
            out_specs=[
                pl.BlockSpec((1, height, rows), lambda n, w, *_: (n, 0, 0)) for height in heights
            ],
            scratch_shapes=[pltpu.VMEM((columns, rows), jnp.float32)] * len(lists),
        ),
        out_shape=[
            jax.ShapeDtypeStruct((N // rows, height, rows), dtype)
            for height, dtype in zip(heights, dtypes, strict=True)
        ],
        compiler_params=pltpu.CompilerParams(
            dimension_semantics=("parallel", "arbitrary"), vmem_limit_bytes=_VMEM
        ),
        cost_estimate=pl.CostEstimate(
            flops=flops,
            transcendentals=int(N * tiles * columns * exponentials),
            bytes_accessed=read + 4 * N * sum(heights),
        ),
        interpret=interpret,
        name="paired_readout",
    )(
        jnp.stack([jnp.asarray(count, jnp.int32), jnp.asarray(first, jnp.int32)]),
        target_N.reshape(-1, 1, rows),
        target_logit_N.reshape(-1, 1, rows),
        *inputs,
    )  # fmt: skip
    state = {name: x.reshape(N) for name, x in zip(names, found, strict=False)}
    listed = [x.transpose(0, 2, 1).reshape(N, _LISTED)[:, :LIKELIEST] for x in found[len(names) :]]
    of_lists = dict(zip(lists, zip(listed[::2], listed[1::2], strict=True), strict=True))
    return paired_sums.found(state, of_lists, accumulators)


def _kernel(
    numbers_ref,
    target_ref,
    target_logit_ref,
    *refs,
    counts: list[tuple[int, int, int]],
    adjusts: list[Any],
    names: tuple[str, ...],
    lists: list[str],
):
    left = list(refs)

    def take(count: int) -> list[Any]:
        taken = left[:count]
        del left[:count]
        return taken

    sides = [[take(count) for count in of_side] for of_side in counts]
    state_refs = dict(zip(names, take(len(names)), strict=True))
    list_refs = [take(2) for _ in lists]
    W, rows = sides[0][1][0].shape[0], target_ref.shape[2]
    w = pl.program_id(1)

    @pl.when(w == 0)
    def _():
        for name, ref in state_refs.items():
            ref[0] = paired_sums.start(name, (1, rows))
        for id_ref, logit_ref in list_refs:
            id_ref[0] = jnp.full((_LISTED, rows), -1, jnp.int32)
            logit_ref[0] = jnp.full((_LISTED, rows), paired_sums.LOWEST, jnp.float32)

    row_WN = w * W + jax.lax.broadcasted_iota(jnp.int32, (W, rows), 0)
    shown = []
    for (states, heads, biases), adjust in zip(sides, adjusts, strict=True):
        logit_WN = adjust(product(heads, states), column(biases[0][...], W) if biases else None)
        shown.append(jnp.where(row_WN < numbers_ref[0], logit_WN, paired_sums.LOWEST))
    tile = paired_sums.Tile(shown[0], shown[1], row_WN + numbers_ref[1], axis=0)
    state = {name: ref[0] for name, ref in state_refs.items()}
    state = paired_sums.updated(state, tile, target_ref[0], target_logit_ref[0])
    for name, ref in state_refs.items():
        ref[0] = state[name]
    for name, (id_ref, logit_ref), left_ref in zip(lists, list_refs, left, strict=True):
        logits = tile.model if name == paired_sums.LISTS[0] else tile.reference
        left_ref[...] = logits
        _list(left_ref, id_ref, logit_ref, tile.largest(logits), row_WN + numbers_ref[1])


def _list(left_WN, id_ref, logit_ref, largest_1N: jax.Array, id_WN: jax.Array) -> None:
    """Puts the tokens of a tile into the list of the likeliest, as many as belong there.

    Args:
      left_WN: a reference to the tile's logits, from which those that were listed are taken.
      id_ref, logit_ref: references to the list, [1, _LISTED, rows], largest first.
      largest_1N: the largest logits of the tile.
      id_WN: the tokens of the tile.
    """
    last = LIKELIEST - 1
    place_KN = jax.lax.broadcasted_iota(jnp.int32, logit_ref.shape[1:], 0)

    def belongs(best_1N: jax.Array) -> jax.Array:
        return jnp.max(jnp.where(best_1N > logit_ref[0, last : last + 1], 1.0, 0.0)) > 0

    def put(best_1N: jax.Array) -> jax.Array:
        left, logit_KN, id_KN = left_WN[...], logit_ref[0], id_ref[0]
        best_id_1N = jnp.min(
            jnp.where(left == best_1N, id_WN, jnp.iinfo(jnp.int32).max), axis=0, keepdims=True
        )
        at_1N = jnp.sum(jnp.where(logit_KN >= best_1N, 1, 0), axis=0, keepdims=True)

        def inserted(list_KN: jax.Array, new_1N: jax.Array) -> jax.Array:
            moved_KN = jnp.where(place_KN == at_1N, new_1N, pltpu.roll(list_KN, 1, 0))
            return jnp.where(place_KN < at_1N, list_KN, moved_KN)

        logit_ref[0], id_ref[0] = inserted(logit_KN, best_1N), inserted(id_KN, best_id_1N)
        left = jnp.where(id_WN == best_id_1N, paired_sums.LOWEST, left)
        left_WN[...] = left
        return jnp.max(left, axis=0, keepdims=True)

    jax.lax.while_loop(belongs, put, largest_1N)

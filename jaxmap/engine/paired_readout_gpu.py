"""The scan over the vocabulary of two models on a GPU: a Pallas kernel for both heads.

As `readout_gpu`, but each program multiplies the states of both models with tiles of their
unembeddings, and neither's logits reach the memory. In array names, N is tokens, E channels, V the
vocabulary, W the entries of a tile, P the parts of the vocabulary that programs take.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

from jaxmap.engine import paired_sums, readout_gpu
from jaxmap.engine.accumulators import LIKELIEST, joined_parts
from jaxmap.engine.blockwise_softmax import Distribution, Distributions
from jaxmap.engine.paired_sums import LISTS, LOWEST
from jaxmap.engine.readout_gpu import adjusted
from jaxmap.engine.unembedding import Reference, Unembedding

_ROWS = 128  # tokens of a tile
_COLUMNS = 64  # entries of the vocabulary in a tile
_CHANNELS = 64  # channels that are multiplied at a time
_PROGRAMS = 1024  # about so many are started, which is several for each multiprocessor


def supported(
    hidden_NE: jax.Array,
    unembedding: Unembedding,
    reference: Reference,
    accumulators: tuple[str, ...],
) -> bool:
    """Whether the kernel takes two models' states and unembeddings, see `readout_gpu.supported`.

    The 16 bits of the two models may be of two dtypes.
    """
    return (
        set(accumulators) <= {*paired_sums.SUMS, *LISTS}
        and readout_gpu.supported(hidden_NE, unembedding, ())
        and readout_gpu.supported(reference.states, reference.unembedding, ())
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
    """Scans the first `count` rows; see `jaxmap.engine.paired_readout_tpu.scan`."""
    N, V = hidden_NE.shape[0], unembedding.head_VE.shape[0]
    sides = [(hidden_NE, unembedding), (reference.states, reference.unembedding)]
    tiles = pl.cdiv(V, _COLUMNS)
    per_part = pl.cdiv(tiles, min(tiles, pl.cdiv(_PROGRAMS, N // _ROWS)))
    parts = pl.cdiv(tiles, per_part)
    of_tokens = pl.BlockSpec((_ROWS,), lambda n, p: (n,))
    specs, inputs = [pl.BlockSpec((2,), lambda n, p: (0,)), of_tokens, of_tokens], []
    flops = read = 0
    for hidden, head in sides:
        E = hidden.shape[1]
        specs += [
            pl.BlockSpec((_ROWS, E), lambda n, p: (n, 0)),
            pl.BlockSpec((V, E), lambda n, p: (0, 0)),
        ]
        inputs += [hidden, head.head_VE]
        if head.bias_V is not None:
            specs.append(pl.BlockSpec((V,), lambda n, p: (0,)))
            inputs.append(head.bias_V.astype(jnp.float32))
        flops += 2 * N * tiles * _COLUMNS * E
        read += hidden.nbytes + head.head_VE.nbytes
    adjusts = [head.adjust for _, head in sides]
    exponentials = paired_sums.exponentials(accumulators, adjusts)
    names, dtypes, lists = paired_sums.outputs(accumulators)
    dtypes += [jnp.int32, jnp.float32] * LIKELIEST * len(lists)
    found = pl.pallas_call(
        partial(
            _kernel, per_part=per_part, adjusts=adjusts, names=names, lists=lists,
            biased=[head.bias_V is not None for _, head in sides],
        ),
        grid=(N // _ROWS, parts),
        in_specs=specs,
        out_specs=[pl.BlockSpec((None, _ROWS), lambda n, p: (p, n))] * len(dtypes),
        out_shape=[jax.ShapeDtypeStruct((parts, N), dtype) for dtype in dtypes],
        compiler_params=plgpu.CompilerParams(num_warps=8, num_stages=3),
        metadata={
            "flops": str(flops),
            "transcendentals": str(int(N * tiles * _COLUMNS * exponentials)),
            "bytes_accessed": str(read + 4 * parts * N * len(dtypes)),
        },
        interpret=interpret,
        name="paired_readout",
    )(
        jnp.stack([jnp.asarray(count, jnp.int32), jnp.asarray(first, jnp.int32)]),
        target_N,
        target_logit_N,
        *inputs,
    )  # fmt: skip
    state = dict(zip(names, found, strict=False))
    of_lists = {}
    for i, name in enumerate(lists):
        begin = len(names) + 2 * LIKELIEST * i
        entries = found[begin : begin + 2 * LIKELIEST]
        of_lists[name] = jnp.stack(entries[::2], axis=-1), jnp.stack(entries[1::2], axis=-1)
    model, other, sums = paired_sums.found(state, of_lists, accumulators)
    over, sums = joined_parts(Distributions(model, other), sums)
    assert over.reference is not None
    return over.model, over.reference, sums


def _kernel(
    numbers_ref,
    target_ref,
    target_logit_ref,
    *refs,
    per_part: int,
    adjusts: list[Any],
    biased: list[bool],
    names: tuple[str, ...],
    lists: list[str],
):
    """One program: a tile of tokens and `per_part` tiles of the vocabulary."""
    inputs, outputs = refs[: 4 + sum(biased)], refs[4 + sum(biased) :]
    sides = inputs[: 2 + biased[0]], inputs[2 + biased[0] :]
    V = sides[0][1].shape[0]
    count, first = numbers_ref[0], numbers_ref[1]
    target_N1, target_logit_N1 = target_ref[...][:, None], target_logit_ref[...][:, None]
    begin_tile = pl.program_id(1) * per_part
    end_tile = jnp.minimum(begin_tile + per_part, pl.cdiv(count, _COLUMNS))

    def logits(side: tuple, rows: Any) -> jax.Array:
        hidden_ref, head_ref = side[:2]

        def multiply(k, logit_NW):
            channels = pl.ds(k * _CHANNELS, _CHANNELS)
            return logit_NW + plgpu.dot(hidden_ref[:, channels], head_ref[rows, channels].T)

        start = jnp.zeros((_ROWS, _COLUMNS), jnp.float32)
        return jax.lax.fori_loop(0, hidden_ref.shape[1] // _CHANNELS, multiply, start)

    def tile(w, carry):
        state, listed = carry
        # The last tile starts earlier, so that it is whole; its first rows were seen before.
        begin = jnp.minimum(w * _COLUMNS, V - _COLUMNS)
        rows = pl.ds(begin, _COLUMNS)
        row_W = begin + jnp.arange(_COLUMNS)
        valid_W = (row_W >= w * _COLUMNS) & (row_W < count)
        valid_NW = jnp.broadcast_to(valid_W[None], (_ROWS, _COLUMNS))
        id_NW = jnp.broadcast_to((row_W + first)[None], (_ROWS, _COLUMNS))
        shown = []
        for side, adjust in zip(sides, adjusts, strict=True):
            bias_1W = side[2][rows][None] if len(side) == 3 else None
            logit_NW = adjusted(adjust, logits(side, rows), bias_1W)
            shown.append(jnp.where(valid_NW, logit_NW, LOWEST))
        both = paired_sums.Tile(shown[0], shown[1], id_NW, axis=1)
        after = paired_sums.updated(
            dict(zip(names, state, strict=True)), both, target_N1, target_logit_N1
        )
        now = []
        for name, entries in zip(lists, listed, strict=True):
            logit_NW = both.model if name == LISTS[0] else both.reference
            now.append(_listed(entries, both, logit_NW))
        return tuple(after[name] for name in names), tuple(now)

    state = tuple(paired_sums.start(name, (_ROWS, 1)) for name in names)
    none = jnp.full((_ROWS, 1), -1, jnp.int32), jnp.full((_ROWS, 1), LOWEST, jnp.float32)
    listed = tuple((none,) * LIKELIEST for _ in lists)
    state, listed = jax.lax.fori_loop(begin_tile, end_tile, tile, (state, listed))
    results = [*state, *(x for entries in listed for entry in entries for x in entry)]
    for ref, result_N1 in zip(outputs, results, strict=True):
        ref[...] = jnp.sum(result_N1, axis=1)


def _listed(entries: tuple, tile: paired_sums.Tile, logit_NW: jax.Array) -> tuple:
    """The list of the likeliest tokens, as ids and logits [N, 1], with those of a tile."""

    def belongs(carry: tuple) -> jax.Array:
        _, best_N1, entries = carry
        return jnp.max(jnp.where(best_N1 > entries[-1][1], 1, 0)) > 0

    def put(carry: tuple) -> tuple:
        left_NW, best_N1, entries = carry
        id_N1 = tile.first(left_NW, best_N1)
        after = []
        moved: tuple[jax.Array, ...] = id_N1, best_N1
        for entry in entries:  # those that are smaller move down by one
            higher_N1 = best_N1 > entry[1]
            pairs = list(zip(moved, entry, strict=True))
            after.append(tuple(jnp.where(higher_N1, new, old) for new, old in pairs))
            moved = tuple(jnp.where(higher_N1, old, new) for new, old in pairs)
        left_NW = jnp.where(tile.id == id_N1, LOWEST, left_NW)
        return left_NW, tile.largest(left_NW), tuple(after)

    return jax.lax.while_loop(belongs, put, (logit_NW, tile.largest(logit_NW), entries))[2]

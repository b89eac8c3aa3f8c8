"""Sums, counts and maxima over the vocabulary, computed block by block.

`jaxmap.engine.statistics` computes its formulas from them. In array names, N is tokens and W the
entries of the vocabulary in a block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxmap.engine.blockwise_softmax import BlockLogits, Distributions, rescaled, shift


@dataclasses.dataclass(frozen=True)
class VocabularyBlock:
    """The data of one block of the vocabulary, the input of an accumulator.

    Fields:
      model, reference: the logits of the model and of the reference; None without a reference.
      model_shared, reference_shared: the same, over the tokens that are in both vocabularies.
      id_W: the token id of each column.
      target_N, target_logit_N: the id of the next token, and its logit in the model.
    """

    model: BlockLogits
    reference: BlockLogits | None
    model_shared: BlockLogits
    reference_shared: BlockLogits | None
    id_W: jax.Array
    target_N: jax.Array
    target_logit_N: jax.Array


@dataclasses.dataclass(frozen=True)
class Parts:
    """Combines accumulators over a vocabulary that is divided among the devices of a mesh.

    Fields:
      part: the distributions over this device's part of the vocabulary.
      whole: the distributions over the whole vocabulary.
      axis: the mesh axis that divides the vocabulary.
    """

    part: Distributions
    whole: Distributions
    axis: str

    def total(self, x: jax.Array) -> jax.Array:
        """The sum over all parts."""
        return jax.lax.psum(x, self.axis)

    def largest(self, x: jax.Array) -> jax.Array:
        """The elementwise maximum of all parts."""
        return jax.lax.pmax(x, self.axis)

    def smallest(self, x: jax.Array) -> jax.Array:
        """The elementwise minimum of all parts."""
        return jax.lax.pmin(x, self.axis)

    def beside(self, x_NK: jax.Array) -> jax.Array:
        """The arrays of all parts, one after another: [N, K] -> [N, parts x K]."""
        return jax.lax.all_gather(x_NK, self.axis, axis=1, tiled=True)


@dataclasses.dataclass(frozen=True)
class Accumulator:
    """A fold over the vocabulary; its state is a tree of arrays with an axis of N tokens.

    Fields:
      start: N -> the state before the first block.
      update: (state, block) -> the state after the block.
      join: (state of this device's part of the vocabulary, `Parts`) -> state of the whole.
    """

    start: Callable[[int], Any]
    update: Callable[[Any, VocabularyBlock], Any]
    join: Callable[[Any, Parts], Any]


def _no_sum(N: int) -> jax.Array:
    return jnp.zeros(N, jnp.float32)


def _centred(of: str) -> Accumulator:
    """Sum of exp(c) c over the centred logits c = logit - maximum."""

    def add(sum_N: jax.Array, block: VocabularyBlock) -> jax.Array:
        one = getattr(block, of)
        return one.rescaled(sum_N, one.shift_N) + jnp.sum(one.exp_NW * one.centred_NW, axis=-1)

    def join(sum_N: jax.Array, parts: Parts) -> jax.Array:
        part, max_N = getattr(parts.part, of), getattr(parts.whole, of).max_N
        return parts.total(rescaled(sum_N, shift(part, max_N), part, max_N))

    return Accumulator(_no_sum, add, join)


def _gap(of: str, other: str) -> Accumulator:
    """Sum of exp(c) (c - d) over the centred logits c of one distribution and d of another."""

    def add(sum_N: jax.Array, block: VocabularyBlock) -> jax.Array:
        one, two = getattr(block, of), getattr(block, other)
        new_N = jnp.sum(one.exp_NW * (one.centred_NW - two.centred_NW), axis=-1)
        return one.rescaled(sum_N, one.shift_N - two.shift_N) + new_N

    def join(sum_N: jax.Array, parts: Parts) -> jax.Array:
        part, part_of_other = getattr(parts.part, of), getattr(parts.part, other)
        max_N, max_of_other_N = getattr(parts.whole, of).max_N, getattr(parts.whole, other).max_N
        shift_N = shift(part, max_N) - shift(part_of_other, max_of_other_N)
        return parts.total(rescaled(sum_N, shift_N, part, max_N))

    return Accumulator(_no_sum, add, join)


def _no_count(N: int) -> jax.Array:
    return jnp.zeros(N, jnp.int32)


def _count_above(count_N: jax.Array, block: VocabularyBlock) -> jax.Array:
    # The target's logit was computed separately and may differ from its column's by rounding.
    other_NW = block.id_W[None] != block.target_N[:, None]
    above_NW = other_NW & (block.model.logit_NW > block.target_logit_N[:, None])
    return count_N + jnp.sum(above_NW, axis=-1, dtype=jnp.int32)


def _join_count(count_N: jax.Array, parts: Parts) -> jax.Array:
    return parts.total(count_N)


def _top(of: str) -> Accumulator:
    """The largest logit and its token id, int32; the first of equal ones."""
    last = jnp.iinfo(jnp.int32).max

    def start(N: int) -> tuple[jax.Array, jax.Array]:
        return jnp.full(N, last, jnp.int32), jnp.full(N, -jnp.inf, jnp.float32)

    def add(
        best: tuple[jax.Array, jax.Array], block: VocabularyBlock
    ) -> tuple[jax.Array, jax.Array]:
        id_N, logit_N = best
        logit_NW = getattr(block, of).logit_NW
        new_N = jnp.max(logit_NW, axis=-1)
        # Not argmax, which XLA does not vectorise on CPU.
        at_top_NW = logit_NW == new_N[:, None]
        new_id_N = jnp.min(jnp.where(at_top_NW, block.id_W[None], last), axis=-1)
        higher_N = new_N > logit_N
        return jnp.where(higher_N, new_id_N, id_N), jnp.maximum(new_N, logit_N)

    def join(best: tuple[jax.Array, jax.Array], parts: Parts) -> tuple[jax.Array, jax.Array]:
        id_N, logit_N = best
        best_N = parts.largest(logit_N)
        return parts.smallest(jnp.where(logit_N == best_N, id_N, last)), best_N

    return Accumulator(start, add, join)


def _likeliest(of: str, count: int) -> Accumulator:
    """The tokens of the `count` largest logits, largest first: int32 [N, count], -1 where there are
    fewer tokens; with them, their logits."""

    def start(N: int) -> tuple[jax.Array, jax.Array]:
        return jnp.full((N, count), -1, jnp.int32), jnp.full((N, count), -jnp.inf, jnp.float32)

    def add(
        best: tuple[jax.Array, jax.Array], block: VocabularyBlock
    ) -> tuple[jax.Array, jax.Array]:
        logit_NM, column_NM = _candidates(getattr(block, of).logit_NW, count)
        id_NM = jnp.where(jnp.isneginf(logit_NM), -1, block.id_W[0] + column_NM)  # consecutive
        return largest_of(
            jnp.concatenate([best[0], id_NM], axis=1), jnp.concatenate([best[1], logit_NM], axis=1)
        )

    def largest_of(id_NK: jax.Array, logit_NK: jax.Array) -> tuple[jax.Array, jax.Array]:
        logit_NK, place_NK = jax.lax.top_k(logit_NK, count)
        return jnp.take_along_axis(id_NK, place_NK, axis=1), logit_NK

    def join(best: tuple[jax.Array, jax.Array], parts: Parts) -> tuple[jax.Array, jax.Array]:
        return largest_of(*map(parts.beside, best))

    return Accumulator(start, add, join)


def _candidates(logit_NW: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Logits of each row that have the `count` largest among them, and their columns, in order.

    The largest are in the groups of columns with the largest maxima, so that only the maxima and
    these groups need be sorted.
    """
    N, W = logit_NW.shape
    groups = W // _GROUP
    if groups <= 2 * count:
        return logit_NW, jnp.broadcast_to(jnp.arange(W)[None], (N, W))
    whole = groups * _GROUP
    logit_NGC = logit_NW[:, :whole].reshape(N, groups, _GROUP)
    _, group_NK = jax.lax.top_k(jnp.max(logit_NGC, axis=-1), count)
    group_NK = jnp.sort(group_NK, axis=-1)  # of equal logits the first is wanted
    chosen_NKC = jnp.take_along_axis(logit_NGC, group_NK[:, :, None], axis=1)
    column_NKC = group_NK[:, :, None] * _GROUP + jnp.arange(_GROUP)[None, None]
    rest_NR = jnp.broadcast_to(jnp.arange(whole, W)[None], (N, W - whole))
    return (
        jnp.concatenate([chosen_NKC.reshape(N, -1), logit_NW[:, whole:]], axis=1),
        jnp.concatenate([column_NKC.reshape(N, -1), rest_NR], axis=1),
    )


_GROUP = 16  # columns
LIKELIEST = 5  # tokens that are kept of each distribution

ACCUMULATORS: dict[str, Accumulator] = {
    "centred": _centred("model"),
    "centred_of_reference": _centred("reference"),
    "gap_of_reference": _gap("reference_shared", "model_shared"),
    "gap_of_model": _gap("model_shared", "reference_shared"),
    # Tokens whose logit is larger than the target's.
    "above": Accumulator(_no_count, _count_above, _join_count),
    "top": _top("model"),
    "top_shared": _top("model_shared"),
    "top_of_reference": _top("reference_shared"),
    "likeliest": _likeliest("model_shared", LIKELIEST),
    "likeliest_of_reference": _likeliest("reference_shared", LIKELIEST),
}


def joined(
    over: Distributions, sums: Mapping[str, Any], axis: str
) -> tuple[Distributions, dict[str, Any]]:
    """The distributions and states over the whole vocabulary, which a mesh axis divides.

    Args:
      over, sums: the distributions over a part, and the states of accumulators by name.
      axis: the name of the axis.
    """
    parts = Parts(over, over.joined(axis), axis)
    return parts.whole, {name: ACCUMULATORS[name].join(sums[name], parts) for name in sums}


def joined_parts(
    over: Distributions, sums: Mapping[str, Any]
) -> tuple[Distributions, dict[str, Any]]:
    """`joined` on one device, of parts that the leading axis of all arrays counts."""
    join = partial(joined, axis="parts")
    return jax.vmap(join, out_axes=None, axis_name="parts")(over, dict(sums))

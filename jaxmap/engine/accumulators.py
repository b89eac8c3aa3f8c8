"""What the scan over the vocabulary adds up, block by block, for `jaxmap.engine.statistics`.

Letters: N tokens, W entries of the vocabulary in a block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmap.engine.distribution import BlockLogits, Distributions, rescaled, shift


@dataclasses.dataclass(frozen=True)
class Block:
    """What an accumulator is given of a block of the vocabulary.

    Fields:
      model: the logits of the model.
      compared, reference: the logits of the model and of the reference over the tokens that both
        have; the latter None without a reference.
      id_W: the token of each column.
      target_N, target_logit_N: the token that follows, and its logit.
    """

    model: BlockLogits
    compared: BlockLogits
    reference: BlockLogits | None
    id_W: jax.Array
    target_N: jax.Array
    target_logit_N: jax.Array


@dataclasses.dataclass(frozen=True)
class Parts:
    """How the parts of the vocabulary that the devices of a mesh hold become one.

    Fields:
      part: the distributions over this device's part.
      whole: those over all parts.
      axis: the mesh axis.
    """

    part: Distributions
    whole: Distributions
    axis: str

    def total(self, x: jax.Array) -> jax.Array:
        return jax.lax.psum(x, self.axis)

    def largest(self, x: jax.Array) -> jax.Array:
        return jax.lax.pmax(x, self.axis)

    def smallest(self, x: jax.Array) -> jax.Array:
        return jax.lax.pmin(x, self.axis)


@dataclasses.dataclass(frozen=True)
class Accumulator:
    """Something added up over the vocabulary.

    Fields:
      start: N -> what it is before the first block, arrays of N.
      update: (that, a block) -> that with the block.
      join: (that of this device's part of the vocabulary, `Parts`) -> that of the whole.
    """

    start: Callable[[int], Any]
    update: Callable[[Any, Block], Any]
    join: Callable[[Any, Parts], Any]


def _no_sum(N: int) -> jax.Array:
    return jnp.zeros(N, jnp.float32)


def _add_centred(sum_N: jax.Array, block: Block) -> jax.Array:
    model = block.model
    new_N = jnp.sum(model.exp_NW * model.centred_NW, axis=-1)
    return model.rescaled(sum_N, model.shift_N) + new_N


def _join_centred(sum_N: jax.Array, parts: Parts) -> jax.Array:
    part, max_N = parts.part.model, parts.whole.model.max_N
    return parts.total(rescaled(sum_N, shift(part, max_N), part, max_N))


def _gap(of: str, other: str) -> Accumulator:
    """Sum of exp(c) (c - d) over the centred logits c of one distribution and d of another."""

    def add(sum_N: jax.Array, block: Block) -> jax.Array:
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


def _count_above(count_N: jax.Array, block: Block) -> jax.Array:
    # The target's logit was computed apart and may differ from its column's in the last bits.
    other_NW = block.id_W[None] != block.target_N[:, None]
    above_NW = other_NW & (block.model.logit_NW > block.target_logit_N[:, None])
    return count_N + jnp.sum(above_NW, axis=-1, dtype=jnp.int32)


def _join_count(count_N: jax.Array, parts: Parts) -> jax.Array:
    return parts.total(count_N)


def _top(of: str) -> Accumulator:
    """The token of the largest logit, int32, of equal ones the first; with it, that logit."""
    last = jnp.iinfo(jnp.int32).max

    def start(N: int) -> tuple[jax.Array, jax.Array]:
        return jnp.full(N, last, jnp.int32), jnp.full(N, -jnp.inf, jnp.float32)

    def add(best: tuple[jax.Array, jax.Array], block: Block) -> tuple[jax.Array, jax.Array]:
        id_N, logit_N = best
        logit_NW = getattr(block, of).logit_NW
        new_id_N = block.id_W[jnp.argmax(logit_NW, axis=-1)]
        new_N = jnp.max(logit_NW, axis=-1)
        higher_N = new_N > logit_N
        return jnp.where(higher_N, new_id_N, id_N), jnp.maximum(new_N, logit_N)

    def join(best: tuple[jax.Array, jax.Array], parts: Parts) -> tuple[jax.Array, jax.Array]:
        id_N, logit_N = best
        best_N = parts.largest(logit_N)
        return parts.smallest(jnp.where(logit_N == best_N, id_N, last)), best_N

    return Accumulator(start, add, join)


ACCUMULATORS: dict[str, Accumulator] = {
    # Sum of exp(c) c over the centred logits c = logit - maximum.
    "centred": Accumulator(_no_sum, _add_centred, _join_centred),
    "gap_of_reference": _gap("reference", "compared"),
    "gap_of_model": _gap("compared", "reference"),
    # Tokens whose logit is larger than the target's.
    "above": Accumulator(_no_count, _count_above, _join_count),
    "top": _top("model"),
    "top_of_reference": _top("reference"),
}

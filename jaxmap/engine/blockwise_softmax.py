"""The softmax of logits that come in blocks, as a running maximum and a sum of exponentials.

The method is that of Milakov and Gimelshein 2018, arXiv:1805.02867. In array names, N is tokens
and W the entries of the vocabulary in a block.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Distribution:
    """The softmax of N tokens' logits so far, float32 [N] each.

    Fields:
      max_N: the largest logit.
      sum_N: the sum of exp(logit - max_N).
    """

    max_N: jax.Array
    sum_N: jax.Array

    @property
    def log_sum_exp_N(self) -> jax.Array:
        """The logarithm of the sum of the exponentials of all logits."""
        return self.max_N + jnp.log(self.sum_N)

    def joined(self, axis: str) -> Distribution:
        """The distribution over the whole vocabulary, which the mesh axis `axis` divides."""
        max_N = jax.lax.pmax(self.max_N, axis)
        return Distribution(max_N, jax.lax.psum(self.sum_N * jnp.exp(self.max_N - max_N), axis))


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Distributions:
    """The distributions predicted for N tokens.

    Fields:
      model: the model's distribution, over its vocabulary.
      reference: the reference's, over its vocabulary; None without a reference.
      model_cut: the model's, over the tokens that the reference has too; None if it has all.
      reference_cut: the reference's, over the tokens that the model has too; None if it has all.
    """

    model: Distribution
    reference: Distribution | None = None
    model_cut: Distribution | None = None
    reference_cut: Distribution | None = None

    @property
    def model_shared(self) -> Distribution:
        """The model's distribution over the tokens that both have."""
        return self.model if self.model_cut is None else self.model_cut

    @property
    def reference_shared(self) -> Distribution | None:
        """The reference's distribution over the tokens that both have."""
        return self.reference if self.reference_cut is None else self.reference_cut

    def joined(self, axis: str) -> Distributions:
        """The distributions over the whole vocabulary, see `Distribution.joined`."""
        return jax.tree.map(
            lambda part: part.joined(axis), self, is_leaf=lambda x: isinstance(x, Distribution)
        )


@dataclasses.dataclass(frozen=True)
class BlockLogits:
    """The logits of one model in a block of the vocabulary, and the softmax before and after it.

    Fields:
      logit_NW: float32; -inf in columns that do not count (no token, or seen before).
      exp_NW: exp(logit - now.max_N), 0 in columns that do not count.
      before, now: the distribution over the blocks before this one, and with this one.
    """

    logit_NW: jax.Array
    exp_NW: jax.Array
    before: Distribution
    now: Distribution

    @property
    def centred_NW(self) -> jax.Array:
        """logit - now.max_N, at most 0; 0 in columns that do not count."""
        return jnp.where(jnp.isneginf(self.logit_NW), 0, self.logit_NW - self.now.max_N[:, None])

    @property
    def shift_N(self) -> jax.Array:
        """The change of centred logits of earlier blocks, float32 [N], when the maximum grows."""
        return shift(self.before, self.now.max_N)

    def rescaled(self, sum_N: jax.Array, shift_N: jax.Array) -> jax.Array:
        """Rescales a sum of exp(c) x w over earlier blocks to the new maximum, float32 [N].

        Args:
          sum_N: the sum, relative to the earlier maximum.
          shift_N: the number by which each weight w changes.
        """
        return rescaled(sum_N, shift_N, self.before, self.now.max_N)


def shift(before: Distribution, max_N: jax.Array) -> jax.Array:
    """The difference of two running maxima, [N]; 0 before the first block."""
    # Before the first block the maximum may be -inf.
    return jnp.where(before.sum_N > 0, before.max_N - max_N, 0)


def rescaled(
    sum_N: jax.Array, shift_N: jax.Array, before: Distribution, max_N: jax.Array
) -> jax.Array:
    """A sum of exp(c) x w over earlier blocks, relative to the new maximum `max_N`, float32 [N]."""
    return jnp.exp(before.max_N - max_N) * (sum_N + shift_N * before.sum_N)


def nothing_seen(N: int, *, padded: bool = False) -> Distribution:
    """The distribution before the first block; `padded`: a block may consist of padding only."""
    # The maximum is finite then, since the difference of two infinities is NaN.
    lowest = float(jnp.finfo(jnp.float32).min) if padded else -jnp.inf
    return Distribution(jnp.full((N,), lowest, jnp.float32), jnp.zeros((N,), jnp.float32))


def add_block(before: Distribution, logit_NW: jax.Array) -> BlockLogits:
    """Adds the logits of a block to a distribution."""
    max_N = jnp.maximum(before.max_N, jnp.max(logit_NW, axis=-1))
    sum_N = before.sum_N * jnp.exp(before.max_N - max_N)
    exp_NW = jnp.exp(logit_NW - max_N[:, None])
    sum_N = sum_N + jnp.sum(exp_NW, axis=-1)
    return BlockLogits(logit_NW, exp_NW, before, Distribution(max_N, sum_N))

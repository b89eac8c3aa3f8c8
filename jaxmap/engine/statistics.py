"""What can be read off a model's logits at a token: a table of statistics, and what they add up.

A statistic is a few sums, counts or maxima over the vocabulary (`Accumulator`), which the scan of
`jaxmap.engine.readout` keeps up to date block by block, and a formula that makes them a number per
token (`Statistic.finish`). docs/extend/statistic.md shows how to add one.

Letters: N tokens, W entries of the vocabulary in a block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import jax
import jax.numpy as jnp

from jaxmap.errors import InputError


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


@dataclasses.dataclass(frozen=True)
class BlockLogits:
    """One model's logits of a block of the vocabulary, and its softmax before and with them.

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
        """What is added to a centred logit of earlier blocks, as the maximum has moved."""
        return _shift(self.before, self.now.max_N)

    def rescaled(self, sum_N: jax.Array, shift_N: jax.Array) -> jax.Array:
        """A sum of exponential x weight over earlier blocks, relative to the new maximum.

        Args:
          sum_N: the sum.
          shift_N: what each of its weights moves by.
        """
        return _rescaled(sum_N, shift_N, self.before, self.now.max_N)


def _shift(before: Distribution, max_N: jax.Array) -> jax.Array:
    # Nothing was added before the first block: its maximum may be -inf.
    return jnp.where(before.sum_N > 0, before.max_N - max_N, 0)


def _rescaled(
    sum_N: jax.Array, shift_N: jax.Array, before: Distribution, max_N: jax.Array
) -> jax.Array:
    return jnp.exp(before.max_N - max_N) * (sum_N + shift_N * before.sum_N)


@dataclasses.dataclass(frozen=True)
class Block:
    """What an accumulator is given of a block of the vocabulary.

    Fields:
      model: the logits of the model.
      reference: those of the reference; None without one.
      id_W: the token of each column.
      target_N, target_logit_N: the token that follows, and its logit.
    """

    model: BlockLogits
    reference: BlockLogits | None
    id_W: jax.Array
    target_N: jax.Array
    target_logit_N: jax.Array


@dataclasses.dataclass(frozen=True)
class Parts:
    """How the parts of the vocabulary that the devices of a mesh hold become one.

    Fields:
      model, reference: the distribution over this device's part.
      model_max_N, reference_max_N: the largest logits of all parts.
      axis: the mesh axis.
    """

    model: Distribution
    model_max_N: jax.Array
    reference: Distribution | None
    reference_max_N: jax.Array | None
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


@dataclasses.dataclass(frozen=True)
class Found:
    """What a statistic's formula is given, of the whole vocabulary.

    Fields:
      model, reference: the distributions.
      target_logit_N: the target's logit in the model.
      target_N: the target.
      sums: what each of the statistic's accumulators came to, by name.
    """

    model: Distribution
    reference: Distribution | None
    target_N: jax.Array
    target_logit_N: jax.Array
    sums: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Statistic:
    """A number per token.

    Fields:
      name: of its array.
      unit: of its values; "" for a pure number.
      dtype: of a token's value.
      per_text: how the values of a text's scored tokens become one number, in float64; "none":
        not at all, its values are kept per token only.
      accumulators: names in ACCUMULATORS.
      finish: the formula, float32 or int32 [N].
      needs_reference: whether it compares the model with a reference.
    """

    name: str
    unit: str
    dtype: Literal["float32", "int32", "bool"]
    per_text: Literal["sum", "mean", "none"]
    accumulators: tuple[str, ...]
    finish: Callable[[Found], jax.Array]
    needs_reference: bool = False


# Accumulators -----------------------------------------------------------------------------------


def _no_sum(N: int) -> jax.Array:
    return jnp.zeros(N, jnp.float32)


def _add_centred(sum_N: jax.Array, block: Block) -> jax.Array:
    model = block.model
    new_N = jnp.sum(model.exp_NW * model.centred_NW, axis=-1)
    return model.rescaled(sum_N, model.shift_N) + new_N


def _join_centred(sum_N: jax.Array, parts: Parts) -> jax.Array:
    model, max_N = parts.model, parts.model_max_N
    return parts.total(_rescaled(sum_N, _shift(model, max_N), model, max_N))


ACCUMULATORS: dict[str, Accumulator] = {
    # Sum of exp(c) c over the centred logits c = logit - maximum.
    "centred": Accumulator(_no_sum, _add_centred, _join_centred),
}


# Statistics -------------------------------------------------------------------------------------


def _log_likelihood(found: Found) -> jax.Array:
    return found.target_logit_N - found.model.max_N - jnp.log(found.model.sum_N)


def _entropy(found: Found) -> jax.Array:
    """-sum p log p, both terms 0 or more: log p is the centred logit less the log of the sum."""
    return jnp.log(found.model.sum_N) - found.sums["centred"] / found.model.sum_N


STATISTICS: dict[str, Statistic] = {
    statistic.name: statistic
    for statistic in (
        Statistic("log_likelihood", "nats", "float32", "sum", (), _log_likelihood),
        Statistic("entropy", "nats", "float32", "sum", ("centred",), _entropy),
    )
}
DEFAULT = ("log_likelihood",)


def chosen(names: Iterable[str]) -> tuple[Statistic, ...]:
    """The statistics of these names; InputError for an unknown one."""
    found = []
    for name in names:
        if name not in STATISTICS:
            known = ", ".join(STATISTICS)
            raise InputError(f"unknown statistic {name!r}; known: {known}", field="statistics")
        found.append(STATISTICS[name])
    return tuple(found)

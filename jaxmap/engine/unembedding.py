"""The map from final hidden states to logits, and its division into blocks of the vocabulary.

In array names, N is tokens, E the channels of the unembedding, V the vocabulary, W the entries of a
block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxmap.model.decoder import Decoder
from jaxmap.model.inputs import Inputs
from jaxmap.model.layers.linear import contract
from jaxmap.model.layers.logits import LogitAdjustment

Adjust = Callable[[jax.Array, jax.Array | None], jax.Array]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Unembedding:
    """The map from final hidden states to logits.

    Fields:
      head_VE: the unembedding matrix, in the dtype of the states.
      bias_V: the second argument of `adjust`, or None.
      adjust: (logits, bias) -> logits, such as `Decoder.adjust`.
      size: the number of leading rows of the head that are tokens; None: all rows.
    """

    head_VE: jax.Array
    bias_V: jax.Array | None = None
    adjust: Adjust = dataclasses.field(default=LogitAdjustment(), metadata=dict(static=True))
    size: int | None = dataclasses.field(default=None, metadata=dict(static=True))

    @classmethod
    def of(cls, decoder: Decoder) -> Unembedding:
        """The unembedding of a decoder."""
        spec = decoder.spec
        bias_V = None if decoder.head_bias is None else decoder.head_bias[...]
        size = spec.V if spec.padded_V else None
        return cls(decoder.head_VE, bias_V, decoder.adjust, size)

    def logits(self, hidden_NE: jax.Array) -> jax.Array:
        """All logits at once, float32 [N, V]."""
        logits_NV = contract("ne,ve->nv", hidden_NE, self.head_VE, out_dtype=jnp.float32)
        return self.adjust(logits_NV, None if self.bias_V is None else self.bias_V[None])

    def tokens_from(self, first: jax.Array | int) -> jax.Array:
        """The number of rows that are tokens, int32, where row 0 is token `first`."""
        V = self.head_VE.shape[0]
        count = V if self.size is None else jnp.clip(self.size - first, 0, V)
        return jnp.asarray(count, jnp.int32)

    def of_rows(self, V: int) -> Unembedding:
        """The same with V rows: the last rows are dropped, or rows of zeros added (no tokens)."""
        rows = self.head_VE.shape[0]
        if rows == V:
            return self
        size = min(self.size or rows, V)

        def fit(x: jax.Array) -> jax.Array:
            return jnp.pad(x[:V], [(0, max(0, V - rows))] + [(0, 0)] * (x.ndim - 1))

        bias_V = None if self.bias_V is None else fit(self.bias_V)
        return Unembedding(fit(self.head_VE), bias_V, self.adjust, size if size < V else None)


def final_states(decoder: Decoder, x_BTD: jax.Array, inputs: Inputs) -> jax.Array:
    """The states that the unembedding multiplies, [B * T, E], from a batch's residual stream."""
    hidden_BTE = decoder.unembedded(x_BTD, inputs)
    return hidden_BTE.reshape(-1, hidden_BTE.shape[-1])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Reference:
    """The predictions of a reference model: final hidden states and their unembedding.

    Fields:
      states: final hidden states, any float dtype, [N, E] (or [B, T, E] for a batch).
      unembedding: the map to logits. Token ids mean the same as in the compared model, up to the
        size of the smaller vocabulary.
    """

    states: jax.Array
    unembedding: Unembedding


@dataclasses.dataclass(frozen=True)
class Columns:
    """A block of the vocabulary.

    Fields:
      row_W: the block's rows of the unembedding.
      fresh_W: whether each row was in no earlier block; None: all were not.
      first: the token id of row 0, which is not 0 on all devices if a mesh divides the vocabulary.
    """

    row_W: jax.Array
    fresh_W: jax.Array | None
    first: jax.Array | int
    _begin: jax.Array

    @property
    def id_W(self) -> jax.Array:
        """The token id of each row."""
        return self.first + self.row_W

    def of(self, unembedding: Unembedding) -> Unembedding:
        """The rows of an unembedding that are in this block."""
        count = len(self.row_W)
        head_WE = jax.lax.dynamic_slice_in_dim(unembedding.head_VE, self._begin, count)
        bias_W = None
        if unembedding.bias_V is not None:
            bias_W = jax.lax.dynamic_slice_in_dim(unembedding.bias_V, self._begin, count)
        return Unembedding(head_WE, bias_W, unembedding.adjust)

    def masked(self, logit_NW: jax.Array, size: int | None) -> jax.Array:
        """Logits with -inf for rows that are not fresh or not among the first `size` tokens."""
        valid_W = self.fresh_W
        if size is not None:
            token_W = self.row_W < size - self.first
            valid_W = token_W if valid_W is None else valid_W & token_W
        return logit_NW if valid_W is None else jnp.where(valid_W[None], logit_NW, -jnp.inf)


def over_blocks(
    fold: Callable[[Any, Columns], Any],
    start: Any,
    V: int,
    block: int,
    first: jax.Array | int = 0,
) -> Any:
    """Folds `fold(state, columns) -> state` over blocks of V rows of an unembedding.

    Blocks have equal size, at most `block` rows. If they do not divide V, the last block starts
    earlier and its repeated rows are not fresh.

    Args:
      fold: the function to fold.
      start: the first state.
      V: the number of rows.
      block: the largest number of rows of a block.
      first: the token id of the first row.

    Returns the last state.
    """
    blocks = -(-V // block)
    width = -(-V // blocks)

    def step(carry: Any, i: jax.Array) -> tuple[Any, None]:
        begin = jnp.minimum(i * width, V - width)
        row_W = begin + jnp.arange(width)
        fresh_W = row_W >= i * width if blocks * width > V else None
        return fold(carry, Columns(row_W, fresh_W, first, begin)), None

    return jax.lax.scan(step, start, jnp.arange(blocks))[0]

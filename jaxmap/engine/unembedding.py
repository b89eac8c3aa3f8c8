"""What turns final hidden states into logits, and the blocks of the vocabulary that it is cut into.

Letters: N tokens, E channels of the unembedding, V vocabulary, W entries of a block.
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
    """What turns final hidden states into logits.

    Fields:
      head_VE: the unembedding, same dtype as the states.
      bias_V: what `adjust` is given beside the logits, or None.
      adjust: (logits, bias) -> logits, what the model does to them, such as `Decoder.adjust`.
      size: how many rows of the head are tokens, the first ones; None: all.
    """

    head_VE: jax.Array
    bias_V: jax.Array | None = None
    adjust: Adjust = dataclasses.field(default=LogitAdjustment(), metadata=dict(static=True))
    size: int | None = dataclasses.field(default=None, metadata=dict(static=True))

    @classmethod
    def of(cls, decoder: Decoder) -> Unembedding:
        """That of a decoder."""
        spec = decoder.spec
        bias_V = None if decoder.head_bias is None else decoder.head_bias[...]
        size = spec.V if spec.padded_V else None
        return cls(decoder.head_VE, bias_V, decoder.adjust, size)

    def logits(self, hidden_NE: jax.Array) -> jax.Array:
        """float32 [N, V]."""
        logits_NV = contract("ne,ve->nv", hidden_NE, self.head_VE, out_dtype=jnp.float32)
        return self.adjust(logits_NV, None if self.bias_V is None else self.bias_V[None])

    def of_rows(self, V: int) -> Unembedding:
        """The same with V rows: the last are left out, or zeros that are no tokens follow."""
        rows = self.head_VE.shape[0]
        if rows == V:
            return self
        size = min(self.size or rows, V)

        def fit(x: jax.Array) -> jax.Array:
            return jnp.pad(x[:V], [(0, max(0, V - rows))] + [(0, 0)] * (x.ndim - 1))

        bias_V = None if self.bias_V is None else fit(self.bias_V)
        return Unembedding(fit(self.head_VE), bias_V, self.adjust, size if size < V else None)


def final_states(decoder: Decoder, x_BTD: jax.Array, inputs: Inputs) -> jax.Array:
    """What the unembedding is multiplied with, [B x T, E], of the residual stream of a batch."""
    hidden_BTE = decoder.unembedded(x_BTD, inputs)
    return hidden_BTE.reshape(-1, hidden_BTE.shape[-1])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Reference:
    """What a model is compared with: final hidden states, and what turns them into logits.

    Fields:
      states: final hidden states, any float dtype, [N, E] (or, of a batch, [B, T, E]).
      unembedding: what makes them logits; tokens have the model's ids, as far as both vocabularies
        go.
    """

    states: jax.Array
    unembedding: Unembedding


@dataclasses.dataclass(frozen=True)
class Columns:
    """A block of the vocabulary.

    Fields:
      row_W: the rows of the unembedding.
      fresh_W: which of them were in no block before; None: all.
      first: the id of row 0, where a mesh cuts the vocabulary.
    """

    row_W: jax.Array
    fresh_W: jax.Array | None
    first: jax.Array | int
    _begin: jax.Array

    @property
    def id_W(self) -> jax.Array:
        """The token of each row."""
        return self.first + self.row_W

    def of(self, unembedding: Unembedding) -> Unembedding:
        """The block of it."""
        count = len(self.row_W)
        head_WE = jax.lax.dynamic_slice_in_dim(unembedding.head_VE, self._begin, count)
        bias_W = None
        if unembedding.bias_V is not None:
            bias_W = jax.lax.dynamic_slice_in_dim(unembedding.bias_V, self._begin, count)
        return Unembedding(head_WE, bias_W, unembedding.adjust)

    def masked(self, logit_NW: jax.Array, size: int | None) -> jax.Array:
        """-inf where a row is not fresh, or not one of the first `size` tokens."""
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
    """Folds the blocks of V rows of an unembedding into `start`, one after another.

    Blocks are even, at most `block` rows. Where they do not divide the rows, the last is moved
    back to fit, and what it repeats is not fresh. `first` is the id of the first row.
    """
    blocks = -(-V // block)
    width = -(-V // blocks)

    def step(carry: Any, i: jax.Array) -> tuple[Any, None]:
        begin = jnp.minimum(i * width, V - width)
        row_W = begin + jnp.arange(width)
        fresh_W = row_W >= i * width if blocks * width > V else None
        return fold(carry, Columns(row_W, fresh_W, first, begin)), None

    return jax.lax.scan(step, start, jnp.arange(blocks))[0]

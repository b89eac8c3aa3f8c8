"""Tokens gathered into blocks, each of which has one expert.

The tokens of an expert fill blocks, of which only the last may be incomplete. In array names, N is
tokens, K the experts of a token, M = N K the choices, E experts, S blocks, b tokens of a block and
P = S b.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

_BLOCK = 64  # the largest number of tokens in a block


@dataclasses.dataclass(frozen=True)
class ExpertBlocks:
    """Where each choice is computed.

    There are as many blocks as could be needed at most.

    Fields:
      token_P: the token at each place; N: none.
      place_M: the place of each choice, by token and then by rank; past the end for one that has no
        expert here.
      until_E: the number of blocks up to and including those of each expert.
      count, size: the number of blocks, and of tokens in a block.
    """

    token_P: jax.Array
    place_M: jax.Array
    until_E: jax.Array
    count: int
    size: int

    @classmethod
    def of(cls, index_NK: jax.Array, E: int, size: int, *, some: bool = False) -> ExpertBlocks:
        """The blocks for the chosen experts.

        Args:
          index_NK: the experts of each token.
          E: the number of experts.
          size: the number of tokens in a block.
          some: whether index_NK may contain E, which stands for no expert.
        """
        N, K = index_NK.shape
        expert_M = index_NK.reshape(-1)
        order_M = jnp.argsort(expert_M, stable=True)
        size_E = jnp.bincount(expert_M, length=E)
        blocks_E = (size_E + size - 1) // size
        until_E = jnp.cumsum(blocks_E)
        sorted_M = expert_M[order_M]
        rank_M = jnp.arange(N * K) - (jnp.cumsum(size_E) - size_E)[sorted_M]
        place_M = (until_E - blocks_E)[sorted_M] * size + rank_M  # index among all blocks' tokens
        count = min((N * K + E * (size - 1)) // size, N * K)
        if some:
            place_M = jnp.where(sorted_M < E, place_M, count * size)  # out of reach
        token_P = jnp.full(count * size, N).at[place_M].set(order_M // K)
        where_M = jnp.zeros_like(place_M).at[order_M].set(place_M)
        return cls(token_P, where_M, until_E, count, size)

    def expert(self, i_S: jax.Array) -> jax.Array:
        """The expert of each of some blocks; the last one for blocks that are not needed."""
        last = len(self.until_E) - 1
        return jnp.minimum(jnp.searchsorted(self.until_E, i_S, side="right"), last)

    def choices(self, y_PD: jax.Array, *, some: bool = False) -> jax.Array:
        """The results of all choices, [M, D]; zero for one that has no expert, if there are any."""
        if some:
            return y_PD.at[self.place_M].get(mode="fill", fill_value=0)
        return y_PD[self.place_M]


def in_blocks(
    run: Callable[[jax.Array, jax.Array], jax.Array],
    x_ND: jax.Array,
    index_NK: jax.Array,
    num_experts: int,
    block: int = _BLOCK,
    some: bool = False,
) -> jax.Array:
    """Applies `run(expert, x_bD)` to each token and each of its experts: [N, K, D].

    Blocks are computed one after another; those that are not needed are skipped.

    Args:
      run: computes one block with one expert.
      x_ND: the tokens.
      index_NK: the experts of each token.
      num_experts: the number of experts.
      block: the largest number of tokens in a block.
      some: whether index_NK may contain num_experts, for which the result is zero.
    """
    N, K = index_NK.shape
    # Blocks are small if experts get few tokens: even an incomplete block is computed as a whole.
    while block > 8 and block * num_experts > 2 * N * K:
        block //= 2
    blocks = ExpertBlocks.of(index_NK, num_experts, block, some=some)

    def one(_, scanned):
        i, token_b = scanned
        x_bD = x_ND.at[token_b].get(mode="fill", fill_value=0)
        expert = blocks.expert(i)
        y_bD = jax.eval_shape(run, expert, x_bD)
        return None, jax.lax.cond(
            i < blocks.until_E[-1],
            run,
            lambda *_: jnp.zeros(y_bD.shape, y_bD.dtype),
            expert,
            x_bD,
        )

    scanned = jnp.arange(blocks.count), blocks.token_P.reshape(blocks.count, block)
    y_PD = jax.lax.scan(one, None, scanned)[1].reshape(blocks.count * block, -1)
    return blocks.choices(y_PD, some=some).reshape(N, K, -1)

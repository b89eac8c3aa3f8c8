"""From final hidden states to statistics of each token, with no [tokens, vocabulary] array.

The vocabulary is gone through once, in blocks; see `jaxmap.engine.statistics` for what is read.
Letters: N tokens, E channels of the unembedding, V vocabulary, W entries of a block.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxmap.engine.statistics import (
    ACCUMULATORS,
    Block,
    BlockLogits,
    Distribution,
    Found,
    Parts,
    chosen,
)
from jaxmap.model.layers.linear import contract
from jaxmap.model.mesh import model_devices

Adjust = Callable[[jax.Array, jax.Array | None], jax.Array]


def unadjusted(logits: jax.Array, bias: jax.Array | None) -> jax.Array:
    """Logits as the head gives them, for `Unembedding.adjust`."""
    return logits


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Unembedding:
    """What turns final hidden states into logits.

    Fields:
      head_VE: the unembedding, same dtype as the states.
      bias_V: what `adjust` is given beside the logits, or None.
      adjust: (logits, bias) -> logits, what the model does to them, such as `Decoder.adjusted`.
      size: how many rows of the head are tokens, the first ones; None: all.
    """

    head_VE: jax.Array
    bias_V: jax.Array | None = None
    adjust: Adjust = dataclasses.field(default=unadjusted, metadata=dict(static=True))
    size: int | None = dataclasses.field(default=None, metadata=dict(static=True))

    def logits(self, hidden_NE: jax.Array) -> jax.Array:
        """float32 [N, V]; of a block of the rows, with `rows`."""
        logits_NV = contract("ne,ve->nv", hidden_NE, self.head_VE, out_dtype=jnp.float32)
        return self.adjust(logits_NV, self.bias_V)

    def rows(self, start: jax.Array, count: int) -> Unembedding:
        """A block of it."""
        head_WE = jax.lax.dynamic_slice_in_dim(self.head_VE, start, count)
        bias_W = None
        if self.bias_V is not None:
            bias_W = jax.lax.dynamic_slice_in_dim(self.bias_V, start, count)
        return Unembedding(head_WE, bias_W, self.adjust)


def read(
    hidden_NE: jax.Array,
    unembedding: Unembedding,
    target_N: jax.Array,
    statistics: Iterable[str],
    *,
    block: int,
) -> dict[str, jax.Array]:
    """Statistics of what a model predicts at N tokens, [N] each, by name.

    Args:
      hidden_NE: final hidden states, any float dtype.
      unembedding: what makes them logits.
      target_N: int32 ids of the tokens that follow.
      statistics: names in STATISTICS.
      block: vocabulary entries taken at a time; memory is a few times N x block float32.

    Sums of exponentials are kept relative to a running maximum, in float32 (Milakov and Gimelshein
    2018, arXiv:1805.02867). A vocabulary that the block does not divide ends with a block that is
    moved back to fit, its overlap masked. Where a mesh cuts the vocabulary, each device goes over
    its own part; what they exchange is a few numbers per token.
    """
    wanted = chosen(statistics)
    needed = tuple(dict.fromkeys(name for s in wanted for name in s.accumulators))

    if model_devices() == 1:
        target_logit_N = _target_logit(hidden_NE, unembedding, target_N)
        state = _scan(hidden_NE, unembedding, target_N, target_logit_N, needed, block)
        found = Found(state.model, None, target_N, target_logit_N, state.sums)
        return {statistic.name: statistic.finish(found) for statistic in wanted}

    def of_a_part(hidden_NE, unembedding, target_N):
        rows = unembedding.head_VE.shape[0]
        first = jax.lax.axis_index("model") * rows
        target_logit_N = _target_logit(hidden_NE, unembedding, target_N, first)
        state = _scan(hidden_NE, unembedding, target_N, target_logit_N, needed, block, first)
        model, model_max_N = _joined(state.model, "model")
        parts = Parts(state.model, model_max_N, None, None, "model")
        sums = {name: ACCUMULATORS[name].join(state.sums[name], parts) for name in needed}
        found = Found(model, None, target_N, target_logit_N, sums)
        return {statistic.name: statistic.finish(found) for statistic in wanted}

    everywhere, cut = PartitionSpec(), PartitionSpec("model")
    return jax.shard_map(
        of_a_part,
        in_specs=(everywhere, cut, everywhere),
        out_specs=everywhere,
        axis_names={"model"},
        check_vma=False,
    )(hidden_NE, unembedding, target_N)


def _joined(part: Distribution, axis: str) -> tuple[Distribution, jax.Array]:
    max_N = jax.lax.pmax(part.max_N, axis)
    sum_N = jax.lax.psum(part.sum_N * jnp.exp(part.max_N - max_N), axis)
    return Distribution(max_N, sum_N), max_N


def _target_logit(
    hidden_NE: jax.Array,
    unembedding: Unembedding,
    target_N: jax.Array,
    first: jax.Array | None = None,
) -> jax.Array:
    """The target's logit, float32 [N].

    Args:
      first: the id of the first row that this device holds; None: it holds all.
    """
    head_VE, bias_V = unembedding.head_VE, unembedding.bias_V
    if first is None:
        bias_N = None if bias_V is None else bias_V[target_N]
        return unembedding.adjust(_dot(hidden_NE, head_VE[target_N]), bias_N)
    here_N = (target_N >= first) & (target_N < first + head_VE.shape[0])
    row_N = jnp.where(here_N, target_N - first, 0)
    logit_N = jnp.where(here_N, _dot(hidden_NE, head_VE[row_N]), 0)
    bias_N = None
    if bias_V is not None:
        bias_N = jnp.where(here_N, bias_V[row_N].astype(jnp.float32), 0)
    # Exact: all but one of the numbers are zero.
    logit_N, bias_N = jax.lax.psum((logit_N, bias_N), "model")
    return unembedding.adjust(logit_N, bias_N)


def _dot(hidden_NE: jax.Array, wanted_NE: jax.Array) -> jax.Array:
    """float32 [N]."""
    return jnp.sum(hidden_NE.astype(jnp.float32) * wanted_NE.astype(jnp.float32), axis=-1)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _State:
    """What the scan carries from block to block."""

    model: Distribution
    sums: dict[str, Any]


def _scan(
    hidden_NE: jax.Array,
    unembedding: Unembedding,
    target_N: jax.Array,
    target_logit_N: jax.Array,
    accumulators: tuple[str, ...],
    block: int,
    first: jax.Array | int = 0,
) -> _State:
    """The distribution, and what each accumulator comes to, over the rows that this device holds.

    Args:
      first: the id of the first of them.
    """
    size = unembedding.size

    def fold(state: _State, columns: Columns) -> _State:
        valid_W = columns.fresh_W
        if size is not None:
            token_W = columns.row_W < size - first
            valid_W = token_W if valid_W is None else valid_W & token_W
        logit_NW = columns.unembedding.logits(hidden_NE)
        if valid_W is not None:
            logit_NW = jnp.where(valid_W, logit_NW, -jnp.inf)
        model = add_block(state.model, logit_NW)
        seen = Block(model, None, first + columns.row_W, target_N, target_logit_N)
        sums = {name: ACCUMULATORS[name].update(state.sums[name], seen) for name in accumulators}
        return _State(model.now, sums)

    N = hidden_NE.shape[0]
    # Finite where a block may have no token: the difference of two infinities is NaN.
    lowest = -jnp.inf if size is None else float(jnp.finfo(jnp.float32).min)
    start = _State(
        nothing_seen(N, lowest), {name: ACCUMULATORS[name].start(N) for name in accumulators}
    )
    return over_blocks(fold, start, unembedding, block)


def nothing_seen(N: int, lowest: float = -jnp.inf) -> Distribution:
    """The distribution before the first block."""
    return Distribution(jnp.full((N,), lowest, jnp.float32), jnp.zeros((N,), jnp.float32))


def add_block(before: Distribution, logit_NW: jax.Array) -> BlockLogits:
    """The logits of a block, and the distribution with them."""
    max_N = jnp.maximum(before.max_N, jnp.max(logit_NW, axis=-1))
    sum_N = before.sum_N * jnp.exp(before.max_N - max_N)
    exp_NW = jnp.exp(logit_NW - max_N[:, None])
    sum_N = sum_N + jnp.sum(exp_NW, axis=-1)
    return BlockLogits(logit_NW, exp_NW, before, Distribution(max_N, sum_N))


@dataclasses.dataclass(frozen=True)
class Columns:
    """A block of the vocabulary.

    Fields:
      unembedding: its rows.
      row_W: their numbers.
      fresh_W: which of them were in no block before; None: all.
    """

    unembedding: Unembedding
    row_W: jax.Array
    fresh_W: jax.Array | None


def over_blocks(
    fold: Callable[[Any, Columns], Any], start: Any, unembedding: Unembedding, block: int
) -> Any:
    """Folds the blocks of an unembedding's rows into `start`, one after another.

    Blocks are even, at most `block` rows. Where they do not divide the rows, the last is moved
    back to fit, and what it repeats is not fresh.
    """
    V = unembedding.head_VE.shape[0]
    blocks = -(-V // block)
    width = -(-V // blocks)

    def step(carry: Any, i: jax.Array) -> tuple[Any, None]:
        begin = jnp.minimum(i * width, V - width)
        row_W = begin + jnp.arange(width)
        fresh_W = row_W >= i * width if blocks * width > V else None
        return fold(carry, Columns(unembedding.rows(begin, width), row_W, fresh_W)), None

    return jax.lax.scan(step, start, jnp.arange(blocks))[0]

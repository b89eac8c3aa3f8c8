"""From the residual stream to the log-probability of each target, with no [B, T, V] array."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxmap.model.layers.linear import contract
from jaxmap.model.mesh import model_devices

Adjust = Callable[[jax.Array, jax.Array | None], jax.Array]


def target_logp(
    hidden_ND: jax.Array,
    head_VD: jax.Array,
    target_N: jax.Array,
    *,
    block: int,
    size: int | None = None,
    bias_V: jax.Array | None = None,
    adjust: Adjust = lambda logits, bias: logits,
) -> jax.Array:
    """log p(target) in nats, float32 [N]: the target's logit less the log-sum-exp of all logits.

    Args:
      hidden_ND: what the head is multiplied with, any float dtype.
      head_VD: the unembedding, same dtype.
      target_N: int32 ids.
      block: vocabulary entries taken at a time; memory is N x block float32.
      size: rows of the head that are tokens, the first ones; None: all.
      bias_V: what `adjust` is given beside the logits, cut like the head.
      adjust: what the model does to its logits, such as `Decoder.adjusted`.

    The log-sum-exp is kept as a running maximum and a running sum of exponentials in float32
    (Milakov and Gimelshein 2018, arXiv:1805.02867). A vocabulary that the block does not divide
    ends with a block that is moved back to fit, its overlap masked. Where a mesh cuts the
    vocabulary, each device sums over its own part; what they exchange is three numbers a token.
    """
    if model_devices() == 1:
        max_N, sum_N = _log_sum(hidden_ND, head_VD, bias_V, adjust, block, size)
        bias_N = None if bias_V is None else bias_V[target_N]
        logit_N = adjust(_logit(hidden_ND, head_VD[target_N]), bias_N)
        return logit_N - max_N - jnp.log(sum_N)

    def own(hidden_ND, head_VD, bias_V, target_N):
        rows = head_VD.shape[0]
        first = jax.lax.axis_index("model") * rows
        left = None if size is None else size - first
        max_N, sum_N = _log_sum(hidden_ND, head_VD, bias_V, adjust, block, left)
        top_N = jax.lax.pmax(max_N, "model")
        sum_N = jax.lax.psum(sum_N * jnp.exp(max_N - top_N), "model")
        here_N = (target_N >= first) & (target_N < first + rows)
        row_N = jnp.where(here_N, target_N - first, 0)
        logit_N = jnp.where(here_N, _logit(hidden_ND, head_VD[row_N]), 0)
        bias_N = None
        if bias_V is not None:
            bias_N = jnp.where(here_N, bias_V[row_N].astype(jnp.float32), 0)
        # Exact: all but one of the numbers are zero.
        logit_N, bias_N = jax.lax.psum((logit_N, bias_N), "model")
        return adjust(logit_N, bias_N) - top_N - jnp.log(sum_N)

    everywhere, cut = PartitionSpec(), PartitionSpec("model")
    return jax.shard_map(
        own,
        in_specs=(everywhere, cut, cut, everywhere),
        out_specs=everywhere,
        axis_names={"model"},
        check_vma=False,
    )(hidden_ND, head_VD, bias_V, target_N)


def _logit(hidden_ND: jax.Array, wanted_ND: jax.Array) -> jax.Array:
    """float32 [N]."""
    return jnp.sum(hidden_ND.astype(jnp.float32) * wanted_ND.astype(jnp.float32), axis=-1)


def _log_sum(
    hidden_ND: jax.Array,
    head_VD: jax.Array,
    bias_V: jax.Array | None,
    adjust: Adjust,
    block: int,
    size: int | jax.Array | None,
) -> tuple[jax.Array, jax.Array]:
    """The largest logit m, and the sum of exp(logit - m), over the first `size` rows."""
    V, _ = head_VD.shape
    blocks = -(-V // block)
    width = -(-V // blocks)  # even blocks: the last one overlaps by less than `blocks`

    def fold(carry, i):
        max_N, sum_N = carry
        start = jnp.minimum(i * width, V - width)
        rows = jax.lax.dynamic_slice_in_dim(head_VD, start, width)
        bias_W = None if bias_V is None else jax.lax.dynamic_slice_in_dim(bias_V, start, width)
        logit_NW = contract("nd,wd->nw", hidden_ND, rows, out_dtype=jnp.float32)
        logit_NW = adjust(logit_NW, bias_W)
        if blocks * width > V:
            fresh_W = start + jnp.arange(width) >= i * width
            logit_NW = jnp.where(fresh_W, logit_NW, -jnp.inf)
        if size is not None:
            logit_NW = jnp.where(start + jnp.arange(width) < size, logit_NW, -jnp.inf)
        new_max_N = jnp.maximum(max_N, jnp.max(logit_NW, axis=-1))
        sum_N = sum_N * jnp.exp(max_N - new_max_N)
        sum_N = sum_N + jnp.sum(jnp.exp(logit_NW - new_max_N[:, None]), axis=-1)
        return (new_max_N, sum_N), None

    N = hidden_ND.shape[0]
    # Finite where a block may have no token: the difference of two infinities is NaN.
    lowest = -jnp.inf if size is None else jnp.finfo(jnp.float32).min
    start = (jnp.full((N,), lowest, jnp.float32), jnp.zeros((N,), jnp.float32))
    (max_N, sum_N), _ = jax.lax.scan(fold, start, jnp.arange(blocks))
    return max_N, sum_N

"""From the residual stream to the log-probability of each target, with no [B, T, V] array."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxmap.model.linear import contract


def target_logp(
    hidden_ND: jax.Array,
    head_VD: jax.Array,
    target_N: jax.Array,
    *,
    block: int,
    bias_V: jax.Array | None = None,
    adjust: Callable[[jax.Array, jax.Array | None], jax.Array] = lambda logits, bias: logits,
) -> jax.Array:
    """log p(target) in nats, float32 [N]: the target's logit less the log-sum-exp of all logits.

    Args:
      hidden_ND: what the head is multiplied with, any float dtype.
      head_VD: the unembedding, same dtype.
      target_N: int32 ids.
      block: vocabulary entries taken at a time; memory is N x block float32.
      bias_V: what `adjust` is given beside the logits, cut like the head.
      adjust: what the model does to its logits, such as `Decoder.adjusted`.

    The log-sum-exp is kept as a running maximum and a running sum of exponentials in float32
    (Milakov and Gimelshein 2018, arXiv:1805.02867). A vocabulary that the block does not divide
    ends with a block that is moved back to fit, its overlap masked.
    """
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
        new_max_N = jnp.maximum(max_N, jnp.max(logit_NW, axis=-1))
        sum_N = sum_N * jnp.exp(max_N - new_max_N)
        sum_N = sum_N + jnp.sum(jnp.exp(logit_NW - new_max_N[:, None]), axis=-1)
        return (new_max_N, sum_N), None

    N = hidden_ND.shape[0]
    start = (jnp.full((N,), -jnp.inf, jnp.float32), jnp.zeros((N,), jnp.float32))
    (max_N, sum_N), _ = jax.lax.scan(fold, start, jnp.arange(blocks))
    wanted_ND = head_VD[target_N]
    logit_N = jnp.sum(hidden_ND.astype(jnp.float32) * wanted_ND.astype(jnp.float32), axis=-1)
    logit_N = adjust(logit_N, None if bias_V is None else bias_V[target_N])
    return logit_N - max_N - jnp.log(sum_N)

"""The loss of a tuned lens, KL(output || layer) per token, and its gradient, in blocks."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxmap.engine.blockwise_softmax import Distribution, add_block, nothing_seen
from jaxmap.engine.readout import read
from jaxmap.engine.unembedding import Columns, Reference, Unembedding, over_blocks


def distribution(hidden_NE: jax.Array, unembedding: Unembedding, block: int) -> Distribution:
    """The softmax over the vocabulary that N final hidden states predict, as running sums."""

    def fold(seen: Distribution, columns: Columns) -> Distribution:
        logit_NW = columns.of(unembedding).logits(hidden_NE)
        return add_block(seen, columns.masked(logit_NW, unembedding.size)).now

    start = nothing_seen(hidden_NE.shape[0])
    return over_blocks(fold, start, unembedding.head_VE.shape[0], block)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def kl(
    hidden_NE: jax.Array,
    final_NE: jax.Array,
    final_lse_N: jax.Array,
    unembedding: Unembedding,
    block: int,
) -> jax.Array:
    """KL(p || q) in nats at each of N tokens, float32 [N], with no [N, V] array.

    It is differentiable with respect to `hidden_NE` only. The gradient with respect to a logit is
    q - p; the forward pass computes it in a second scan over the vocabulary and keeps the gradient
    with respect to `hidden_NE`.

    Args:
      hidden_NE: final hidden states that predict q.
      final_NE: the model's own final hidden states, which predict p.
      final_lse_N: the log-sum-exp of p's logits, from `distribution`.
      unembedding: the map from hidden states to logits, the same for both.
      block: the number of vocabulary entries per step; memory is a few times N x block float32.
    """
    nothing_N = jnp.zeros(hidden_NE.shape[0], jnp.int32)
    found = read(
        hidden_NE,
        unembedding,
        nothing_N,
        ("token_kl",),
        block=block,
        reference=Reference(final_NE, unembedding),
    )
    return found["token_kl"]


def _kl_forward(
    hidden_NE: jax.Array,
    final_NE: jax.Array,
    final_lse_N: jax.Array,
    unembedding: Unembedding,
    block: int,
) -> tuple[jax.Array, jax.Array]:
    lse_N = distribution(hidden_NE, unembedding, block).log_sum_exp_N

    def fold(carry: Any, columns: Columns) -> Any:
        kl_N, grad_NE = carry
        # Columns are not masked here: the gradient of a masked logit would be NaN times zero.
        rows = columns.of(unembedding)
        logit_NW, pull = jax.vjp(rows.logits, hidden_NE)
        logq_NW = logit_NW - lse_N[:, None]
        logp_NW = rows.logits(final_NE) - final_lse_N[:, None]
        p_NW, q_NW = jnp.exp(logp_NW), jnp.exp(logq_NW)
        if columns.fresh_W is not None:
            p_NW, q_NW = (jnp.where(columns.fresh_W[None], x_NW, 0) for x_NW in (p_NW, q_NW))
        kl_N = kl_N + jnp.sum(p_NW * (logp_NW - logq_NW), axis=-1)
        (part_NE,) = pull(q_NW - p_NW)
        return kl_N, grad_NE + part_NE.astype(jnp.float32)

    start = (jnp.zeros(hidden_NE.shape[0], jnp.float32), jnp.zeros(hidden_NE.shape, jnp.float32))
    kl_N, grad_NE = over_blocks(fold, start, unembedding.head_VE.shape[0], block)
    return kl_N, grad_NE.astype(hidden_NE.dtype)


def _kl_backward(block: int, grad_NE: jax.Array, out_N: jax.Array) -> tuple:
    return (out_N[:, None].astype(grad_NE.dtype) * grad_NE, None, None, None)


kl.defvjp(_kl_forward, _kl_backward)

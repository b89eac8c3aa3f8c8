"""KL between what two streams predict, and its gradient, with no [N, V] array either way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxmap.model.layers.linear import contract

Adjust = Callable[[jax.Array, jax.Array | None], jax.Array]


def log_sum_exp(
    hidden_NE: jax.Array, head_VE: jax.Array, bias_V: jax.Array | None, block: int, adjust: Adjust
) -> jax.Array:
    """Of all logits, float32 [N]; the arguments are those of `kl`."""

    def fold(carry: Any, rows: jax.Array, bias_W: jax.Array | None, fresh_W: jax.Array) -> Any:
        logit_NW = jnp.where(fresh_W, _logits(hidden_NE, rows, bias_W, adjust), -jnp.inf)
        return _add_exp(carry, logit_NW)

    max_N, sum_N = _over_blocks(fold, _no_exp(hidden_NE), head_VE, bias_V, block)
    return max_N + jnp.log(sum_N)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def kl(
    hidden_NE: jax.Array,
    final_NE: jax.Array,
    final_lse_N: jax.Array,
    head_VE: jax.Array,
    bias_V: jax.Array | None,
    block: int,
    adjust: Adjust,
) -> jax.Array:
    """KL(final || hidden) in nats at each of N tokens, float32 [N].

    Differentiable in `hidden_NE` alone. The gradient with respect to a logit is q - p, so the
    vocabulary is gone through a second time and what is kept is the gradient of `hidden_NE`.

    Args:
      hidden_NE: what the head is multiplied with to give q.
      final_NE: what it is multiplied with to give p.
      final_lse_N: `log_sum_exp` of `final_NE`.
      head_VE: the unembedding.
      bias_V: what `adjust` is given beside the logits.
      block: vocabulary entries taken at a time; memory is a few times N x block float32.
      adjust: what the model does to its logits.
    """

    def fold(carry: Any, rows: jax.Array, bias_W: jax.Array | None, fresh_W: jax.Array) -> Any:
        exp, cross_N = carry
        logit_NW = _logits(hidden_NE, rows, bias_W, adjust)
        logp_NW = _logits(final_NE, rows, bias_W, adjust) - final_lse_N[:, None]
        p_NW = jnp.where(fresh_W, jnp.exp(logp_NW), 0)
        cross_N = cross_N + jnp.sum(p_NW * (logp_NW - logit_NW), axis=-1)
        return _add_exp(exp, jnp.where(fresh_W, logit_NW, -jnp.inf)), cross_N

    start = (_no_exp(hidden_NE), jnp.zeros(hidden_NE.shape[0], jnp.float32))
    (max_N, sum_N), cross_N = _over_blocks(fold, start, head_VE, bias_V, block)
    return cross_N + max_N + jnp.log(sum_N)


def _kl_forward(
    hidden_NE: jax.Array,
    final_NE: jax.Array,
    final_lse_N: jax.Array,
    head_VE: jax.Array,
    bias_V: jax.Array | None,
    block: int,
    adjust: Adjust,
) -> tuple[jax.Array, jax.Array]:
    lse_N = log_sum_exp(hidden_NE, head_VE, bias_V, block, adjust)

    def fold(carry: Any, rows: jax.Array, bias_W: jax.Array | None, fresh_W: jax.Array) -> Any:
        kl_N, grad_NE = carry
        logit_NW, pull = jax.vjp(lambda h_NE: _logits(h_NE, rows, bias_W, adjust), hidden_NE)
        logq_NW = logit_NW - lse_N[:, None]
        logp_NW = _logits(final_NE, rows, bias_W, adjust) - final_lse_N[:, None]
        p_NW = jnp.where(fresh_W, jnp.exp(logp_NW), 0)
        kl_N = kl_N + jnp.sum(p_NW * (logp_NW - logq_NW), axis=-1)
        (part_NE,) = pull(jnp.where(fresh_W, jnp.exp(logq_NW), 0) - p_NW)
        return kl_N, grad_NE + part_NE.astype(jnp.float32)

    N = hidden_NE.shape[0]
    start = (jnp.zeros(N, jnp.float32), jnp.zeros(hidden_NE.shape, jnp.float32))
    kl_N, grad_NE = _over_blocks(fold, start, head_VE, bias_V, block)
    return kl_N, grad_NE.astype(hidden_NE.dtype)


def _kl_backward(block: int, adjust: Adjust, grad_NE: jax.Array, out_N: jax.Array) -> tuple:
    return (out_N[:, None].astype(grad_NE.dtype) * grad_NE, None, None, None, None)


kl.defvjp(_kl_forward, _kl_backward)


def _logits(
    hidden_NE: jax.Array, rows_WE: jax.Array, bias_W: jax.Array | None, adjust: Adjust
) -> jax.Array:
    return adjust(contract("ne,we->nw", hidden_NE, rows_WE, out_dtype=jnp.float32), bias_W)


def _no_exp(hidden_NE: jax.Array) -> tuple[jax.Array, jax.Array]:
    N = hidden_NE.shape[0]
    return jnp.full((N,), -jnp.inf, jnp.float32), jnp.zeros((N,), jnp.float32)


def _add_exp(carry: tuple[jax.Array, jax.Array], logit_NW: jax.Array) -> tuple:
    """A running maximum and the sum of exponentials less it (arXiv:1805.02867)."""
    max_N, sum_N = carry
    new_max_N = jnp.maximum(max_N, jnp.max(logit_NW, axis=-1))
    sum_N = sum_N * jnp.exp(max_N - new_max_N)
    return new_max_N, sum_N + jnp.sum(jnp.exp(logit_NW - new_max_N[:, None]), axis=-1)


def _over_blocks(
    fold: Callable[..., Any], start: Any, head_VE: jax.Array, bias_V: jax.Array | None, block: int
) -> Any:
    """Folds (carry, rows of the head, their bias, which of them are new) over the vocabulary.

    Where blocks do not divide it, the last is moved back to fit: what it repeats is not new.
    """
    V, _ = head_VE.shape
    blocks = -(-V // block)
    width = -(-V // blocks)

    def step(carry: Any, i: jax.Array) -> tuple[Any, None]:
        first = jnp.minimum(i * width, V - width)
        rows = jax.lax.dynamic_slice_in_dim(head_VE, first, width)
        bias_W = None if bias_V is None else jax.lax.dynamic_slice_in_dim(bias_V, first, width)
        return fold(carry, rows, bias_W, first + jnp.arange(width) >= i * width), None

    return jax.lax.scan(step, start, jnp.arange(blocks))[0]

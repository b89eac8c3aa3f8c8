"""A causal convolution and a linear recurrence over packed rows, shared by recurrent mixers.

A row holds several texts, and nothing may pass from one text to the next: a convolution reads
zeros before a text's first token, and the state is zero there. Both follow from `position_BT`, a
token's index in its own text, which is 0 at padding.

Long rows are computed in chunks, one after another, so that memory holds the states of one chunk,
not of a row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def causal_conv(
    x_BTC: jax.Array, kernel_CW: jax.Array, bias_C: jax.Array | None, position_BT: jax.Array
) -> jax.Array:
    """Convolves each channel with its own W taps; the last tap is on the token itself.

    The sum is accumulated in float32 and rounded once to the dtype of x_BTC, [B, T, C].
    """
    T, W = x_BTC.shape[1], kernel_CW.shape[1]
    x_BTC32 = x_BTC.astype(jnp.float32)
    kernel_CW = kernel_CW.astype(jnp.float32)
    y_BTC = x_BTC32 * kernel_CW[:, -1]
    for lag in range(1, min(W, T)):
        earlier_BTC = jnp.pad(x_BTC32[:, :-lag], ((0, 0), (lag, 0), (0, 0)))
        own_BT1 = (position_BT >= lag)[..., None]
        y_BTC = y_BTC + jnp.where(own_BT1, earlier_BTC, 0) * kernel_CW[:, -1 - lag]
    if bias_C is not None:
        y_BTC = y_BTC + bias_C.astype(jnp.float32)
    return y_BTC.astype(x_BTC.dtype)


def over_chunks(
    step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, arrays: Any, *, chunk: int
) -> Any:
    """Runs `step(carry, arrays of a chunk) -> (carry, outputs)` along the tokens.

    Args:
      carry: the state before the first token.
      arrays: a tree of arrays [B, T, ...]; an incomplete last chunk is padded with zeros.
      chunk: the number of tokens of a step; `step` gets and returns [B, chunk, ...].

    Returns the tree of outputs, [B, T, ...].
    """
    T = jax.tree.leaves(arrays)[0].shape[1]
    chunk = min(chunk, T)
    count = -(-T // chunk)

    def split(x: jax.Array) -> jax.Array:  # [B, T, ...] -> [count, B, chunk, ...]
        x = jnp.pad(x, ((0, 0), (0, count * chunk - T), *((0, 0),) * (x.ndim - 2)))
        return jnp.moveaxis(x.reshape(x.shape[0], count, chunk, *x.shape[2:]), 1, 0)

    def joined(y: jax.Array) -> jax.Array:
        y = jnp.moveaxis(y, 0, 1)
        return y.reshape(y.shape[0], count * chunk, *y.shape[3:])[:, :T]

    _, outputs = jax.lax.scan(step, carry, jax.tree.map(split, arrays))
    return jax.tree.map(joined, outputs)


def states_of_chunk(
    state: jax.Array, decay: jax.Array, update: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The states h_t = decay_t h_{t-1} + update_t of a chunk, by an associative scan.

    Args:
      state: the state before the chunk, [B, ...].
      decay, update: [B, t, ...]; a decay of 0 begins a text. Their trailing shapes may broadcast.

    Returns the last state, [B, ...], and the state after each token, [B, t, ...].
    """

    def joined(earlier, later):
        (a, u), (b, v) = earlier, later
        return a * b, b * u + v

    total, own = jax.lax.associative_scan(joined, (decay, update), axis=1)
    states = own + total * state[:, None]
    return states[:, -1], states


def linear_scan(
    decay: jax.Array, update: jax.Array, position_BT: jax.Array, *, chunk: int = 128
) -> jax.Array:
    """h_t = decay_t h_{t-1} + update_t from h = 0 at each text's start, float32 [B, T, ...].

    Args:
      decay, update: float32 [B, T, ...], of one shape.
      position_BT: see `Inputs`; where it is 0, the earlier state is dropped.
      chunk: the number of tokens computed at once.
    """
    first_BT = position_BT == 0
    decay = jnp.where(first_BT.reshape(*first_BT.shape, *(1,) * (decay.ndim - 2)), 0, decay)

    def step(state, scanned):
        return states_of_chunk(state, *scanned)

    return over_chunks(step, jnp.zeros_like(update[:, 0]), (decay, update), chunk=chunk)

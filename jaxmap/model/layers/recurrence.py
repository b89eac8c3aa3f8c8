"""What recurrent mixers share: a causal convolution and a linear recurrence over packed rows.

Texts lie one after another in a row, so nothing may pass from one to the next: a convolution's
taps that reach before a text's first token see zero, and a state starts from zero there. Both
follow from `position_BT`, a token's place in its own text; it is 0 at every place of padding.

Long rows are taken in chunks, one after another, each computed at once: what is held is a chunk's
states, not a row's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def causal_conv(
    x_BTC: jax.Array, kernel_CW: jax.Array, bias_C: jax.Array | None, position_BT: jax.Array
) -> jax.Array:
    """Each channel convolved with its own W taps, of which the last is on the token itself.

    Accumulated in float32 and rounded once, to the dtype of x_BTC.
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
    """Runs `step(carry, arrays of a chunk) -> (carry, outputs)` along the tokens; the outputs.

    Args:
      carry: the state before the first token.
      arrays: a tree of [B, T, ...]; a last chunk that is not whole is filled up with zeros.
      chunk: tokens that a step takes; `step` gets and returns [B, chunk, ...].

    Returns the outputs' tree of [B, T, ...].
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
    """The states h_t = decay_t h_{t-1} + update_t after each token of a chunk, by doubling.

    Args:
      state: [B, ...], before the chunk.
      decay, update: [B, t, ...]; a decay of 0 begins a text. Their trailing shapes may broadcast.

    Returns the last state and all of them, [B, t, ...].
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
      position_BT: see `Inputs`; where it is 0, what came before is forgotten.
      chunk: tokens computed at once.
    """
    first_BT = position_BT == 0
    decay = jnp.where(first_BT.reshape(*first_BT.shape, *(1,) * (decay.ndim - 2)), 0, decay)

    def step(state, scanned):
        return states_of_chunk(state, *scanned)

    return over_chunks(step, jnp.zeros_like(update[:, 0]), (decay, update), chunk=chunk)

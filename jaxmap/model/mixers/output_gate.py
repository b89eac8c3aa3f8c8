"""Gates on the output of attention, see `OutGate`."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.attention_facts import OutGate
from jaxmap.model.layers.linear import Linear, parameter

GATES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
}


def gate_of(
    gate: OutGate | None, D: int, H: int, C: int, *, dtype, rngs: nnx.Rngs
) -> Linear | None:
    """The projection of D channels to the gates of H heads of C, before their activation."""
    if gate is None:
        return None
    if gate.per == "head":
        bias = (H,) if gate.bias else None
        return Linear("btd,dh->bth", (D, H), bias=bias, dtype=dtype, rngs=rngs)
    bias_HC = (H, C) if gate.bias == "channel" else None
    return Linear("btd,dhc->bthc", (D, H, C), bias=bias_HC, dtype=dtype, rngs=rngs)


def gate_bias(gate: OutGate | None, H: int, dtype) -> nnx.Param | None:
    """A bias per head of gates per channel; None where the projection has all biases."""
    apart = gate is not None and gate.per == "channel" and gate.bias == "head"
    return parameter(jnp.zeros((H,), dtype), "h") if apart else None


def gated(
    y_BTHC: jax.Array, z: jax.Array, gate: OutGate, bias_H: nnx.Param | None = None
) -> jax.Array:
    """The output of attention multiplied by its gates.

    Args:
      y_BTHC: the output of each head.
      z: what the projection of `gate_of` gives, [B, T, H] or [B, T, H, C].
      gate: the facts.
      bias_H: the parameter of `gate_bias`.
    """
    if gate.per == "head":
        z = z[..., None]
    if bias_H is not None:
        z = z + bias_H[...].astype(z.dtype)[:, None]
    return y_BTHC * GATES[gate.act](z)

"""The functions that models apply to their logits after the unembedding."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class LogitAdjustment:
    """Adds a bias, scales the logits, then caps them. Hashable, and equal by value.

    Fields:
      scale: the factor on the logits.
      softcap: c in c tanh(logit / c); 0: no cap.
    """

    scale: float = 1.0
    softcap: float = 0.0

    def __call__(self, logits: jax.Array, bias: jax.Array | None) -> jax.Array:
        """Adjusts float32 logits of any shape to which the bias can be broadcast."""
        if bias is not None:
            logits = logits + bias.astype(jnp.float32)
        if self.scale != 1:
            logits = logits * self.scale
        if self.softcap:
            logits = self.softcap * jnp.tanh(logits / self.softcap)
        return logits

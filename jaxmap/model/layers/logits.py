"""What models do to their logits after the unembedding."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class LogitAdjustment:
    """A bias is added, logits are scaled, then capped; two of equal facts are equal.

    Fields:
      scale: the factor.
      softcap: c of c tanh(logit / c); 0: no cap.
    """

    scale: float = 1.0
    softcap: float = 0.0

    def __call__(self, logits: jax.Array, bias: jax.Array | None) -> jax.Array:
        """float32; any shape that the bias fits."""
        if bias is not None:
            logits = logits + bias.astype(jnp.float32)
        if self.scale != 1:
            logits = logits * self.scale
        if self.softcap:
            logits = self.softcap * jnp.tanh(logits / self.softcap)
        return logits

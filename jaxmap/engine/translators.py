"""Affine maps of the residual stream before each layer: what a tuned lens has learnt."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxmap.model.layers.linear import contract


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Translators:
    """One map a layer, h + A h + b (Belrose et al. 2023, arXiv:2303.08112); float32.

    As in the authors' package the matrix is what is added to the identity, and the output, layer L,
    has none.

    Fields:
      weight_LDD: A, output features first.
      bias_LD: b.
    """

    weight_LDD: jax.Array
    bias_LD: jax.Array

    @classmethod
    def identity(cls, L: int, D: int) -> Translators:
        """Those that change nothing: with them a tuned lens is the logit lens."""
        return cls(jnp.zeros((L, D, D), jnp.float32), jnp.zeros((L, D), jnp.float32))


def translated(x_BTD: jax.Array, one: Translators) -> jax.Array:
    """The stream as one layer's map makes it, in the stream's dtype; `one` has no layer axis."""
    x32_BTD = x_BTD.astype(jnp.float32)
    moved_BTD = contract("btd,ed->bte", x32_BTD, one.weight_LDD) + one.bias_LD
    return (x32_BTD + moved_BTD).astype(x_BTD.dtype)

"""The translators of a tuned lens: an affine map of the residual stream before each layer."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from jaxmap.model.layers.linear import contract


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Translators:
    """One map per layer, h + A h + b (Belrose et al. 2023, arXiv:2303.08112); float32.

    As in the authors' package, the matrix is added to the identity, and the output, layer L, has
    no map.

    Fields:
      weight_LDD: the matrices A, output features first.
      bias_LD: the vectors b.
    """

    weight_LDD: jax.Array
    bias_LD: jax.Array

    @classmethod
    def identity(cls, L: int, D: int) -> Translators:
        """Translators that change nothing, with which a tuned lens is the logit lens."""
        return cls(jnp.zeros((L, D, D), jnp.float32), jnp.zeros((L, D), jnp.float32))


def translated(x_BTD: jax.Array, one: Translators) -> jax.Array:
    """Applies one layer's map, `one` without its layer axis, to x_BTD; keeps the dtype.

    With several residual streams, x_BTPD, the map is applied to each.
    """
    x32_BTD = x_BTD.astype(jnp.float32)
    moved_BTD = contract("...d,ed->...e", x32_BTD, one.weight_LDD) + one.bias_LD
    return (x32_BTD + moved_BTD).astype(x_BTD.dtype)

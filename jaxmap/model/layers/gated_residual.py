"""Residual streams that are gated channel by channel before each branch (Qwen4-Exp).

In array names, P is streams, Z the rank of a projection.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.layers.hyper_connections import Sums
from jaxmap.model.layers.linear import Linear
from jaxmap.model.layers.norms import Norm
from jaxmap.model.spec import Spec


def norm_of_streams(spec: Spec, streams: int, dtype) -> Norm:
    """A norm of each stream, x_BTPD -> x_BTPD, with a scale of its own."""
    return Norm("rms", (streams, spec.D), eps=spec.eps, offset=1.0, dtype=dtype)


class GatedResidual(nnx.Module):
    """What stands around one branch, or behind the last one.

    The branch reads the mean of the normalised streams, each channel of which is multiplied by a
    gate, sigmoid(up(silu(down(streams) / P))). Its output is added to each stream, times
    2 sigmoid(inject(streams) / P).

    Args:
      last: whether no branch follows, so that nothing is added.
    """

    def __init__(self, spec: Spec, *, last: bool = False, dtype, rngs: nnx.Rngs):
        assert spec.gated_streams is not None
        P, D, Z = spec.gated_streams.streams, spec.D, spec.gated_streams.rank
        make = dict(dtype=dtype, rngs=rngs)
        self.streams = P
        self.norm = norm_of_streams(spec, P, dtype)
        self.down = Linear("btpd,pdz->btz", (P, D, Z), **make)
        self.up = Linear("btz,zpd->btpd", (Z, P, D), **make)
        self.inject = None if last else Linear("btpd,pdk->btk", (P, D, P), **make)

    def mixed(self, normed_BTPD: jax.Array, where: object) -> jax.Array:
        """The mean of the gated streams, x_BTD."""
        narrow_BTZ = jax.nn.silu(self.down(normed_BTPD, where) / self.streams)
        return jnp.mean(jax.nn.sigmoid(self.up(narrow_BTZ, where)) * normed_BTPD, axis=2)

    def collected(self, x_BTPD: jax.Array, where: object) -> tuple[jax.Array, Sums]:
        """The branch's input x_BTD, and how its output joins the streams."""
        assert self.inject is not None
        normed_BTPD = self.norm(x_BTPD)
        weight_BTP = self.inject(normed_BTPD, where).astype(jnp.float32) / self.streams
        return self.mixed(normed_BTPD, where), Sums(2 * jax.nn.sigmoid(weight_BTP), None)

    def added(self, x_BTPD: jax.Array, branch_BTD: jax.Array, sums: Sums) -> jax.Array:
        """The streams after the branch, from those before it and what `collected` gave."""
        return x_BTPD + sums.out_BTP[..., None].astype(x_BTPD.dtype) * branch_BTD[:, :, None]


class GatedEnds(nnx.Module):
    """The streams before the first layer, all equal, and the gated mean after the last one."""

    def __init__(self, spec: Spec, *, dtype, rngs: nnx.Rngs):
        self.mixer = GatedResidual(spec, last=True, dtype=dtype, rngs=rngs)

    def expanded(self, x_BTD: jax.Array, where: object) -> jax.Array:
        """All streams, x_BTPD."""
        B, T, D = x_BTD.shape
        return jnp.broadcast_to(x_BTD[:, :, None], (B, T, self.mixer.streams, D))

    def averaged(self, x_BTPD: jax.Array, where: object) -> jax.Array:
        """The gated mean of the streams, x_BTD."""
        return self.mixer.mixed(self.mixer.norm(x_BTPD), where)

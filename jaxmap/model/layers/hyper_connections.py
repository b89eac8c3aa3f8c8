"""Hyper-connections: several residual streams whose sums with branches are weighted by the tokens.

Zhu et al. 2024, arXiv:2409.19606; with streams that a doubly stochastic matrix mixes (`sinkhorn`)
Xie et al. 2025, arXiv:2512.24880. In array names, P (and I, J) is streams, K weights of a token.
The weights are float32 whatever the activations' dtype.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.layers.linear import contract, parameter
from jaxmap.model.layers.norms import NORMS
from jaxmap.model.spec import Spec


class StreamWeights(nnx.Module):
    """x_BTPD -> the weights of a token, float32 [B, T, K], before their activations.

    A projection of all streams of a token, normalised together, times a scale for each group of
    weights, plus a bias for each.

    Args:
      groups: the number of weights that share each scale; K is their sum.
    """

    def __init__(self, spec: Spec, groups: tuple[int, ...], *, rngs: nnx.Rngs):
        assert spec.hyper is not None
        self.groups, self.eps = groups, spec.eps
        shape = (spec.hyper.streams, spec.D, sum(groups))
        init = nnx.initializers.normal(0.02)
        self.project = parameter(init(rngs.params(), shape, jnp.float32))
        self.bias = parameter(jnp.zeros((sum(groups),), jnp.float32))
        self.scale = parameter(jnp.ones((len(groups),), jnp.float32))

    def __call__(self, x_BTPD: jax.Array) -> jax.Array:
        B, T, P, D = x_BTPD.shape
        flat = NORMS["rms"](x_BTPD.astype(jnp.float32).reshape(B, T, P * D), self.eps)
        project_XK = self.project[...].reshape(P * D, -1)
        weight_BTK = contract("btx,xk->btk", flat, project_XK, exact=True)
        scale_K = jnp.repeat(
            self.scale[...], jnp.asarray(self.groups), total_repeat_length=sum(self.groups)
        )
        return weight_BTK * scale_K + self.bias[...]


class Sums(NamedTuple):
    """How a branch's output joins the streams; both are float32.

    Fields:
      out_BTP: the weight of the output in each stream.
      mixing_BTIJ: the weight of stream I before the branch in stream J after it; None: each stream
        stays as it is.
    """

    out_BTP: jax.Array
    mixing_BTIJ: jax.Array | None


class HyperConnection(nnx.Module):
    """What stands around one branch: the streams' weighted sum before it, and theirs after it."""

    def __init__(self, spec: Spec, *, rngs: nnx.Rngs):
        assert spec.hyper is not None
        self.hyper = h = spec.hyper
        P = h.streams
        self.weights = StreamWeights(spec, (P, P, P * P) if h.sinkhorn else (P, P), rngs=rngs)

    def collected(self, x_BTPD: jax.Array, where: object) -> tuple[jax.Array, Sums]:
        """The branch's input x_BTD, and how its output joins the streams."""
        h, P = self.hyper, self.hyper.streams
        weight_BTK = self.weights(x_BTPD)
        in_BTP = jax.nn.sigmoid(weight_BTK[..., :P]) + h.eps
        out_BTP = h.gain * jax.nn.sigmoid(weight_BTK[..., P : 2 * P]) + h.out_eps
        mixing_BTIJ = None
        if h.sinkhorn:
            raw_BTIJ = weight_BTK[..., 2 * P :].reshape(*weight_BTK.shape[:2], P, P)
            mixing_BTIJ = doubly_stochastic(raw_BTIJ, h.sinkhorn, h.eps)
        return _summed(in_BTP, x_BTPD), Sums(out_BTP, mixing_BTIJ)

    def added(self, x_BTPD: jax.Array, branch_BTD: jax.Array, sums: Sums) -> jax.Array:
        """The streams after the branch, from those before it and what `collected` gave."""
        out_BTP, mixing_BTIJ = sums
        stream_BTPD = x_BTPD.astype(jnp.float32)
        if mixing_BTIJ is not None:
            stream_BTPD = contract("btij,btid->btjd", mixing_BTIJ, stream_BTPD)
        branch_BTD = branch_BTD.astype(jnp.float32)
        return (out_BTP[..., None] * branch_BTD[:, :, None] + stream_BTPD).astype(x_BTPD.dtype)


def doubly_stochastic(raw_BTIJ: jax.Array, rounds: int, eps: float) -> jax.Array:
    """Sinkhorn and Knopp's iteration (1967) from a softmax of rows to rows and columns of sum 1."""

    def columns(m_BTIJ: jax.Array) -> jax.Array:
        return m_BTIJ / (m_BTIJ.sum(-2, keepdims=True) + eps)

    def both(_: int, m_BTIJ: jax.Array) -> jax.Array:
        return columns(m_BTIJ / (m_BTIJ.sum(-1, keepdims=True) + eps))

    start_BTIJ = columns(jax.nn.softmax(raw_BTIJ, axis=-1) + eps)
    return jax.lax.fori_loop(0, rounds - 1, both, start_BTIJ)


def _summed(weight_BTP: jax.Array, x_BTPD: jax.Array) -> jax.Array:
    """The weighted sum of the streams, x_BTD."""
    return jnp.sum(weight_BTP[..., None] * x_BTPD.astype(jnp.float32), axis=2).astype(x_BTPD.dtype)


class StreamEnds(nnx.Module):
    """The streams before the first layer, which are equal, and their sum after the last one."""

    def __init__(self, spec: Spec, *, rngs: nnx.Rngs):
        assert spec.hyper is not None
        self.hyper = spec.hyper
        P = spec.hyper.streams
        self.weights = StreamWeights(spec, (P,), rngs=rngs) if spec.hyper.learnt_end else None

    def expanded(self, x_BTD: jax.Array, where: object) -> jax.Array:
        """All streams, x_BTPD."""
        B, T, D = x_BTD.shape
        return jnp.broadcast_to(x_BTD[:, :, None], (B, T, self.hyper.streams, D))

    def averaged(self, x_BTPD: jax.Array, where: object) -> jax.Array:
        """The streams' mean, or their weighted sum, x_BTD."""
        if self.weights is None:
            return x_BTPD.mean(2)
        return _summed(jax.nn.sigmoid(self.weights(x_BTPD)) + self.hyper.eps, x_BTPD)

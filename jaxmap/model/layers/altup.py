"""Alternating updates and learned augmented residuals: what Gemma 3n has around its branches.

In array names, P (and I, J) is streams.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Positions
from jaxmap.model.layers.linear import Linear, contract, parameter
from jaxmap.model.layers.norms import Norm
from jaxmap.model.spec import Spec


class Expansion(nnx.Module):
    """The streams before the first layer, x_BTD -> x_BTPD, and their mean after the last one.

    Every stream but the first is projected, and scaled to the root mean square of the first.
    """

    def __init__(self, spec: Spec, *, dtype, rngs: nnx.Rngs):
        assert spec.altup is not None
        D, others = spec.D, range(spec.altup.streams - 1)
        make = dict(dtype=dtype, rngs=rngs)
        self.enter = nnx.List([Linear("btd,dz->btz", (D, D), **make) for _ in others])
        self.leave = nnx.List([Linear("btd,dz->btz", (D, D), **make) for _ in others])

    def expanded(self, x_BTD: jax.Array, where: Positions) -> jax.Array:
        """All streams, x_BTPD."""
        more = [_as_long(project(x_BTD, where), x_BTD) for project in self.enter]
        return jnp.stack([x_BTD, *more], axis=2)

    def averaged(self, x_BTPD: jax.Array, where: Positions) -> jax.Array:
        """The mean of the streams, x_BTD."""
        first_BTD = x_BTPD[:, :, 0]
        more = [
            _as_long(project(x_BTPD[:, :, i], where), first_BTD)
            for i, project in enumerate(self.leave, 1)
        ]
        return jnp.stack([first_BTD, *more], axis=2).mean(2)


def _as_long(x_BTD: jax.Array, like_BTD: jax.Array) -> jax.Array:
    """A stream scaled to the root mean square of `like_BTD`."""
    square_BT1 = jnp.mean(jnp.square(x_BTD), axis=-1, keepdims=True)
    target_BT1 = jnp.sqrt(jnp.mean(jnp.square(like_BTD), axis=-1, keepdims=True))
    return x_BTD * target_BT1 / jnp.sqrt(jnp.maximum(square_BT1, 1e-5))


class AlternatingUpdates(nnx.Module):
    """Prediction and correction of the streams of a layer (arXiv:2301.13310, algorithm 1)."""

    def __init__(self, spec: Spec, *, dtype, rngs: nnx.Rngs):
        assert spec.altup is not None
        P, D = spec.altup.streams, spec.D
        make = dict(dtype=dtype, rngs=rngs)
        self.active = spec.altup.active
        self.router_norm = Norm("rms", (D,), eps=spec.eps, dtype=dtype)
        self.router = Linear("btd,dp->btp", (D, P), **make)
        self.predict = Linear("btp,pji->btji", (P, P, P), **make)
        self.correct = Linear("btp,pj->btj", (P, P), **make)
        self.scale = parameter(jnp.ones((D,), dtype)) if spec.altup.scaled else None

    def _modes(self, x_BTD: jax.Array, where: Positions) -> jax.Array:
        """Numbers in (-1, 1) that mix the coefficients, [B, T, P]."""
        return jnp.tanh(self.router(self.router_norm(x_BTD) / x_BTD.shape[-1], where))

    def predicted(self, x_BTPD: jax.Array, where: Positions) -> jax.Array:
        """The streams that the layer expects, each a mixture of all."""
        mixture_BTJI = self.predict(self._modes(x_BTPD[:, :, self.active], where), where)
        return x_BTPD + contract("btji,btid->btjd", mixture_BTJI, x_BTPD)

    def corrected(self, guess_BTPD: jax.Array, y_BTD: jax.Array, where: Positions) -> jax.Array:
        """The predicted streams moved by the error of the active one, which should be `y_BTD`."""
        error_BTD = y_BTD - guess_BTPD[:, :, self.active]
        share_BTP = self.correct(self._modes(y_BTD, where), where) + 1
        return guess_BTPD + error_BTD[:, :, None] * share_BTP[..., None]

    def output(self, x_BTPD: jax.Array) -> jax.Array:
        """The active stream as the layer's embedding is applied to it, x_BTD."""
        x_BTD = x_BTPD[:, :, self.active]
        return x_BTD if self.scale is None else x_BTD * self.scale[...].astype(x_BTD.dtype)


class AugmentedResidual(nnx.Module):
    """Learned augmented residual (LAuReL, Menghani et al. 2024, arXiv:2411.07501), low rank.

    The residual stream after the mixer is (x + mixed + h + norm(B A h)) / sqrt(2), where h is the
    mixer's normalised input.
    """

    def __init__(self, spec: Spec, *, dtype, rngs: nnx.Rngs):
        make = dict(dtype=dtype, rngs=rngs)
        self.left = Linear("btd,dz->btz", (spec.D, spec.laurel_rank), **make)
        self.right = Linear("btz,zd->btd", (spec.laurel_rank, spec.D), **make)
        self.norm = Norm("rms", (spec.D,), eps=spec.eps, dtype=dtype)

    def __call__(self, u_BTD: jax.Array, h_BTD: jax.Array, where: Positions) -> jax.Array:
        """The residual stream from the usual one, u = x + mixed, and the mixer's input."""
        learned_BTD = self.norm(self.right(self.left(h_BTD, where), where))
        return (u_BTD + h_BTD + learned_BTD) * (1 / math.sqrt(2))

"""Linear attention whose sums decay with the distance of tokens (Qin et al. 2024)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear
from jaxmap.model.layers.norms import Norm
from jaxmap.model.mixers.ssd import state_space
from jaxmap.model.mlps.dense import ACTIVATIONS
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer


class LightningAttention(Sublayer):
    """x_BTD -> x_BTD, linear attention with a fixed decay per head (arXiv:2401.04658).

    The output of a head is o_t = sum over s <= t of exp(-rate (t - s)) (q_t · k_s) v_s, where
    queries, keys and values are activations of projections. It is the recurrence of Mamba-2 with
    time steps of 1, keys written into the state and queries read from it. The outputs of all heads
    are normalised together and multiplied by the sigmoid of a projection of the input.
    """

    quantisable = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        assert spec.lightning is not None
        D, H, C = spec.D, spec.H, spec.C
        self.act = spec.act
        make = dict(dtype=dtype, rngs=rngs)
        self.query, self.key, self.value, self.out_gate = (
            Linear("btd,dhc->bthc", (D, H, C), **make) for _ in range(4)
        )
        self.norm = Norm("rms", (H * C,), eps=spec.lightning.eps, dtype=dtype)
        self.out = Linear("bthc,hcd->btd", (H, C, D), **make)

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, facts: LayerFacts) -> jax.Array:
        assert facts.decay is not None
        q_BTHC, k_BTHC, v_BTHC = (
            ACTIVATIONS[self.act](linear(x_BTD, geometry)).astype(jnp.float32)
            for linear in (self.query, self.key, self.value)
        )
        mixed_BTHC = state_space(
            v_BTHC,
            jnp.ones(v_BTHC.shape[:3], jnp.float32),
            -facts.decay,
            k_BTHC,
            q_BTHC,
            geometry.position_BT,
        )
        mixed_BTX = mixed_BTHC.reshape(*mixed_BTHC.shape[:2], -1).astype(x_BTD.dtype)
        mixed_BTHC = self.norm(mixed_BTX).reshape(mixed_BTHC.shape)
        return self.out(jax.nn.sigmoid(self.out_gate(x_BTD, geometry)) * mixed_BTHC, geometry)

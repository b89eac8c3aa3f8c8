"""Feed-forward layers."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.inputs import Geometry
from jaxmap.model.layers.linear import Linear
from jaxmap.model.spec import Kind, Spec
from jaxmap.model.sublayer import Sublayer

_gelu_tanh = functools.partial(jax.nn.gelu, approximate=True)

# The activation functions, by their names in config.json.
ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": functools.partial(jax.nn.gelu, approximate=False),
    "gelu_fast": _gelu_tanh,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": jax.nn.relu,
    "relu2": lambda x: jnp.square(jax.nn.relu(x)),
    "silu": jax.nn.silu,
    "swish": jax.nn.silu,
}


class Mlp(Sublayer):
    """x_BTD -> x_BTD: down(act(up x)), or gated: down(act(gate x) * up x)."""

    quantisable = True
    pads_width = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        D, F = spec.D, kind.F or spec.F
        self.act = spec.act
        self.multipliers = spec.multipliers
        inner = dict(bias=(F,) if spec.mlp_bias else None, dtype=dtype, rngs=rngs)
        self.gate = Linear("btd,df->btf", (D, F), **inner) if spec.gated else None
        self.up = Linear("btd,df->btf", (D, F), **inner)
        self.down = Linear(
            "btf,fd->btd", (F, D), bias=(D,) if spec.mlp_bias else None, dtype=dtype, rngs=rngs
        )

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, *_: object) -> jax.Array:
        act, m = ACTIVATIONS[self.act], self.multipliers
        up_BTF = self.up(x_BTD, geometry)
        if self.gate is None:
            y_BTD = self.down(act(up_BTF), geometry)
        else:
            gate_BTF = self.gate(x_BTD, geometry)
            gate_BTF = act(gate_BTF if m.gate == 1 else gate_BTF * m.gate)
            y_BTD = self.down(gate_BTF * up_BTF, geometry)
        return y_BTD if m.mlp_out == 1 else y_BTD * m.mlp_out

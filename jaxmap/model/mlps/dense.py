"""Feed-forward layers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.expert_facts import ClampedSwiglu
from jaxmap.model.inputs import Geometry, LayerFacts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers import fused_products
from jaxmap.model.layers.linear import Linear, added, by_gpu_kernel, parameter
from jaxmap.model.layers.norms import Norm
from jaxmap.model.spec import Spec
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


def _gelu_by_tanh(x: jax.Array) -> jax.Array:
    """Exact GELU to 3.1e-6, by the polynomial of `fused.GELU`, which grows with x.

    Accelerators have tanh in hardware; erf takes them three times as many operations.
    """
    x32 = x.astype(jnp.float32)
    z, u = x32 * x32, jnp.float32(fused_products.GELU[-1])
    for coefficient in fused_products.GELU[-2::-1]:
        u = u * z + coefficient
    half = 0.5 * x32
    return (half + half * jnp.tanh(u * x32)).astype(x.dtype)


# On accelerators, where activations have 16 bits: cheaper, and off by less than rounding is.
_IN_16_BITS = {"gelu": _gelu_by_tanh}


def activation(name: str, geometry: Geometry, dtype: Any) -> Callable[[jax.Array], jax.Array]:
    """The function of ACTIVATIONS as the platform computes it for activations of a dtype."""
    act = ACTIVATIONS[name]
    platform = getattr(geometry, "platform", "")
    if platform and jnp.dtype(dtype).itemsize == 2:
        act = _IN_16_BITS.get(name, act)
    if platform != "tpu":
        return act
    # Computed once, where its argument is made: XLA may repeat it for every tile that reads it.
    return lambda x: jax.lax.optimization_barrier(act(x))


# Activations with numbers of their own in every layer, see `Xielu`.
LEARNED = frozenset({"xielu"})


class Xielu(nnx.Module):
    """xIELU (Huang and Schlag 2024, arXiv:2411.13010): squares right of zero, exponentials left.

    Two numbers a layer, stored so that softplus makes them positive; two that training leaves as
    they are, but that are stored too: the slope at zero, and a bound under the exponential.
    """

    def __init__(self, *, dtype):
        self.right = parameter(jnp.zeros((1,), dtype))
        self.left = parameter(jnp.zeros((1,), dtype))
        self.slope = parameter(jnp.full((), 0.5, dtype))
        self.bound = parameter(jnp.full((), -1e-6, dtype))

    def __call__(self, x: jax.Array) -> jax.Array:
        z = x.astype(jnp.float32)
        parts = (self.right, self.left, self.slope, self.bound)
        right, left, slope, bound = (part[...].astype(jnp.float32) for part in parts)
        below = (jnp.expm1(jnp.minimum(z, bound)) - z) * (slope + jax.nn.softplus(left))
        above = jax.nn.softplus(right) * z * z
        return (jnp.where(z > 0, above, below) + slope * z).astype(x.dtype)


def clamped_swiglu(glu: ClampedSwiglu, gate: jax.Array, up: jax.Array) -> jax.Array:
    """The gated activation of `ClampedSwiglu`."""
    up = jnp.clip(up, -glu.limit, glu.limit)
    if glu.after:
        return jnp.minimum(gate * jax.nn.sigmoid(glu.alpha * gate), glu.limit) * (up + glu.added)
    gate = jnp.minimum(gate, glu.limit)
    return gate * jax.nn.sigmoid(glu.alpha * gate) * (up + glu.added)


class Mlp(Sublayer):
    """x_BTD -> x_BTD: down(act(up x)), or gated: down(act(gate x) * up x)."""

    quantisable = True
    pads_width = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        D, F = spec.D, kind.F or spec.F
        self.act = spec.act
        self.glu = kind.glu or spec.glu
        self.learned = Xielu(dtype=dtype) if spec.act in LEARNED else None
        self.norm = (
            Norm(spec.norm, (F,), eps=spec.eps, bias=spec.norm_bias, dtype=dtype)
            if spec.inner_norm
            else None
        )
        self.multipliers = spec.multipliers
        inner = dict(bias=(F,) if spec.mlp_bias else None, dtype=dtype, rngs=rngs)
        self.gate = Linear("btd,df->btf", (D, F), **inner) if spec.gated else None
        self.up = Linear("btd,df->btf", (D, F), **inner)
        self.down = Linear(
            "btf,fd->btd", (F, D), bias=(D,) if spec.mlp_bias else None, dtype=dtype, rngs=rngs
        )

    def __call__(
        self,
        x_BTD: jax.Array,
        geometry: Geometry,
        facts: LayerFacts | None = None,
        *,
        stream_BTD: jax.Array | None = None,
    ) -> jax.Array:
        """The MLP's output, added to `stream_BTD` where it is given."""
        inner_BTF = self._inner(x_BTD, geometry, None if facts is None else facts.cutoff)
        if self.norm is not None:
            inner_BTF = self.norm(inner_BTF)
        factor = self.multipliers.mlp_out
        if stream_BTD is not None and factor == 1:
            return added(stream_BTD, self.down, inner_BTF, geometry)
        y_BTD = self.down(inner_BTF, geometry)
        y_BTD = y_BTD if factor == 1 else y_BTD * factor
        return y_BTD if stream_BTD is None else stream_BTD + y_BTD

    def _inner(self, x_BTD: jax.Array, geometry: Geometry, cutoff: jax.Array | None) -> jax.Array:
        """act(up x), or act(gate x) * up x; see `_largest` for a cutoff."""
        factor = self.multipliers.gate
        linears = [self.up] if self.gate is None else [self.gate, self.up]
        if (
            getattr(geometry, "platform", "") == "gpu"
            and self.act in fused_products.FUSED
            and self.glu is None
            and factor == 1
            and cutoff is None
        ):
            inner_BTF = by_gpu_kernel(linears, x_BTD, self.act)
            if inner_BTF is not None:
                return inner_BTF
        act = self.learned or activation(self.act, geometry, x_BTD.dtype)
        up_BTF = self.up(x_BTD, geometry)
        if self.gate is None:
            return act(up_BTF)
        gate_BTF = self.gate(x_BTD, geometry)
        if cutoff is not None:
            gate_BTF = _largest(gate_BTF, cutoff)
        if self.glu is not None:
            return clamped_swiglu(self.glu, gate_BTF, up_BTF)
        return act(gate_BTF if factor == 1 else gate_BTF * factor) * up_BTF


def _largest(gate_BTF: jax.Array, cutoff: jax.Array) -> jax.Array:
    """Keeps what exceeds mean + cutoff x standard deviation of a token's channels, less this sum.

    The channels are taken for normally distributed, so that a share of them remains that is the
    normal distribution's beyond `cutoff` (Gemma 3n). A cutoff of -inf keeps all as they are.
    """
    gate32 = gate_BTF.astype(jnp.float32)
    spread = jnp.std(gate32, axis=-1, keepdims=True)
    least = jnp.mean(gate32, axis=-1, keepdims=True) + spread * jnp.maximum(cutoff, -1e4)
    beyond = jax.nn.relu(gate32 - least)
    return jnp.where(cutoff == -jnp.inf, gate_BTF, beyond.astype(gate_BTF.dtype))

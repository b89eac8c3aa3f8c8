"""A router of experts with layers of its own and a state that goes from layer to layer (ZAYA1).

Anthony et al. 2025, arXiv:2511.17127. In array names, N is tokens, R the router's width.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.layers.linear import contract, parameter
from jaxmap.model.layers.norms import Norm
from jaxmap.model.spec import Spec


class RouterMlp(nnx.Module):
    """Logits of experts: an MLP of two inner layers on a normalised state.

    The state of a layer is a projection of its input, to which the state of the layer before is
    added, times a learnt vector, where the layer reads one (`Kind.reads_router`). All arithmetic is
    float32, and no kernel is ever quantised: rounded, they would choose other experts.
    """

    def __init__(self, spec: Spec, *, reads: bool, dtype, rngs: nnx.Rngs):
        assert spec.experts is not None
        D, R = spec.D, spec.experts.router_width

        def kernel(rows: int, columns: int) -> nnx.Param:
            return parameter(nnx.initializers.normal(0.02)(rngs.params(), (rows, columns), dtype))

        def bias() -> nnx.Param:
            return parameter(jnp.zeros((R,), dtype))

        self.down, self.down_bias = kernel(D, R), bias()
        self.before = parameter(jnp.ones((R,), dtype)) if reads else None
        self.norm = Norm("rms", (R,), eps=spec.eps, dtype=dtype)
        self.first, self.first_bias = kernel(R, R), bias()
        self.second, self.second_bias = kernel(R, R), bias()
        self.out = kernel(R, spec.experts.routes)

    def state(self, x_ND: jax.Array, before_NR: jax.Array) -> jax.Array:
        """The layer's state, float32 [N, R], from its input and the state of the layer before."""
        state_NR = _product(x_ND, self.down) + _float32(self.down_bias)
        return state_NR if self.before is None else state_NR + before_NR * _float32(self.before)

    def __call__(self, state_NR: jax.Array) -> jax.Array:
        """The logits, float32 [N, Experts.routes], from the layer's state."""
        act = partial(jax.nn.gelu, approximate=False)
        z_NR = act(_product(self.norm(state_NR), self.first) + _float32(self.first_bias))
        z_NR = act(_product(z_NR, self.second) + _float32(self.second_bias))
        return _product(z_NR, self.out)


def _float32(of: nnx.Param) -> jax.Array:
    return of[...].astype(jnp.float32)


def _product(x_NI: jax.Array, kernel: nnx.Param) -> jax.Array:
    return contract("ni,io->no", x_NI.astype(jnp.float32), _float32(kernel), exact=True)

"""Mixture of experts (Shazeer et al. 2017, arXiv:1701.06538), computed for the chosen experts only.

The tokens of each expert are gathered into blocks, and the blocks are computed one after another
with the weights of their expert. On a GPU a kernel computes all blocks at once. On TPUs
`jax.lax.ragged_dot` does the same in one call, since their compiler has a kernel for it; elsewhere
it becomes a product with all experts (on a CPU, 16 experts took 16 times the operations and 22
times the time of one).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec

from jaxmap.model.encodings.int8 import Int8Experts
from jaxmap.model.inputs import Geometry, first_of_text
from jaxmap.model.layer_kind import Kind
from jaxmap.model.layers.linear import Linear, contract, parameter
from jaxmap.model.mesh import model_devices
from jaxmap.model.mlps.dense import Mlp
from jaxmap.model.mlps.expert_products import ExpertLinears, ExpertProducts
from jaxmap.model.mlps.router_mlp import RouterMlp
from jaxmap.model.mlps.routing import route
from jaxmap.model.spec import Spec
from jaxmap.model.sublayer import Sublayer


class RoutedExperts(Sublayer):
    """x_BTD -> x_BTD: the weighted sum of the k experts that a router chooses for each token.

    Experts have no capacity limit: an expert computes all tokens that chose it, so that nothing
    else in a row or a batch, padding included, can change a token's result.
    """

    quantisable = True
    pads_width = True

    def __init__(self, spec: Spec, kind: Kind, *, dtype, rngs: nnx.Rngs):
        assert spec.experts is not None
        self.experts = e = spec.experts
        self.act = e.act or spec.act
        make = dict(dtype=dtype, rngs=rngs)
        self.router: Linear | RouterMlp
        if e.router_width:
            self.router = RouterMlp(spec, reads=kind.reads_router, **make)
        else:
            self.router = Linear(
                "nd,de->ne", (spec.D, e.routes), bias=(e.routes,) if e.router_bias else None, **make
            )
        # Always float32: rounded, it would choose other experts.
        self.correction = nnx.Param(jnp.zeros((e.routes,), jnp.float32)) if e.correction else None
        self.factor = parameter(jnp.ones((e.routes,), dtype)) if e.factors else None
        num_experts = e.padded_E or e.E
        stacked = dict(stack="x", **make)
        up = dict(
            shape=(num_experts, spec.D, e.F), bias=(num_experts, e.F) if e.bias else None, **stacked
        )
        self.expert_gate = Linear("nd,df->nf", **up) if e.gated else None
        self.expert_up = Linear("nd,df->nf", **up)
        self.expert_down = Linear(
            "nf,fd->nd",
            (num_experts, e.F, spec.D),
            bias=(num_experts, spec.D) if e.bias else None,
            **stacked,
        )
        self.bias = parameter(jnp.zeros((spec.D,), dtype), "d") if e.bias_D else None
        shared = Kind(F=e.shared_F, glu=kind.glu)
        self.glu = kind.expert_glu or e.glu
        self.shared = Mlp(spec, shared, **make) if e.shared_F else None
        self.shared_gate = Linear("btd,de->bte", (spec.D, 1), **make) if e.shared_gate else None

    def __call__(self, x_BTD: jax.Array, geometry: Geometry, *_: object) -> jax.Array:
        x_ND = x_BTD.reshape(-1, x_BTD.shape[-1])
        return self.routed(x_BTD, self.router_logits(x_ND), geometry)

    def with_state(
        self, x_BTD: jax.Array, geometry: Geometry, state_BTR: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        """The output, and the router's state for the next layer, from the state before.

        Of layers whose router has a state (`Experts.router_width`).
        """
        router = self.router
        assert isinstance(router, RouterMlp)
        x_ND = x_BTD.reshape(-1, x_BTD.shape[-1])
        state_NR = router.state(x_ND, state_BTR.reshape(-1, state_BTR.shape[-1]))
        y_BTD = self.routed(x_BTD, router(state_NR), geometry)
        return y_BTD, state_NR.reshape(state_BTR.shape)

    def routed(self, x_BTD: jax.Array, logit_NE: jax.Array, geometry: Geometry) -> jax.Array:
        """The output for given logits of the router."""
        e = self.experts
        x_ND = x_BTD.reshape(-1, x_BTD.shape[-1])
        correction_E = None if self.correction is None else self.correction[...]
        weight_NK, index_NK = route(logit_NE, e, correction_E)
        if self.factor is not None:
            weight_NK = weight_NK * self.factor[...].astype(jnp.float32)[index_NK]
        shared_BTD = None if self.shared is None else self.shared(x_BTD, geometry)
        if e.on_shared:
            assert shared_BTD is not None
            x_ND = shared_BTD.reshape(x_ND.shape)
        on_gpu = geometry.platform == "gpu"
        # A kernel sees the part of one device.
        kernel_on_mesh = on_gpu and not jax.sharding.get_abstract_mesh().empty
        over_devices = model_devices() > 1 or kernel_on_mesh
        mixed: Callable[..., jax.Array] = self._mixed_over_devices
        if not over_devices:
            mixed = partial(self._mixed, some=e.routes > e.E)
        first_N = first_of_text(geometry)
        itself_ND = None
        if e.identities:
            is_own_NK = index_NK >= e.E
            itself_ND = jnp.where(is_own_NK, weight_NK, 0).sum(-1, keepdims=True) * x_ND
        if e.routes > e.E:  # no expert computes these
            index_NK = jnp.where(index_NK >= e.E, self.linears.E, index_NK)
        if e.scale_inputs:  # a choice is a token of its own, with one expert
            x_ND, first_N = jnp.repeat(x_ND, e.k, axis=0), jnp.repeat(first_N, e.k)
            x_ND = x_ND * weight_NK.reshape(-1, 1).astype(x_ND.dtype)
            weight_NK, index_NK = jnp.ones((len(x_ND), 1), jnp.float32), index_NK.reshape(-1, 1)
        y_ND = mixed(self.linears, x_ND, weight_NK, index_NK, first_N, on_gpu=on_gpu)
        if e.scale_inputs:
            y_ND = y_ND.reshape(-1, e.k, y_ND.shape[-1]).sum(1)
        if itself_ND is not None:
            y_ND = y_ND + itself_ND
        if self.bias is not None:
            y_ND = y_ND + self.bias[...].astype(jnp.float32)
        y_BTD = y_ND.astype(x_BTD.dtype).reshape(x_BTD.shape)
        if shared_BTD is None:
            return y_BTD
        if self.shared_gate is not None:
            shared_BTD = shared_BTD * jax.nn.sigmoid(self.shared_gate(x_BTD, geometry))
        total_BTD = y_BTD + shared_BTD
        return total_BTD / 2 if e.mean_with_shared else total_BTD

    @property
    def linears(self) -> ExpertLinears:
        """The layers of the routed experts."""
        return ExpertLinears(self.expert_gate, self.expert_up, self.expert_down)

    @property
    def products(self) -> ExpertProducts:
        """The products of the routed experts with tokens."""
        return ExpertProducts(self.act, self.glu)

    def router_logits(self, x_ND: jax.Array) -> jax.Array:
        """float32 [N, Experts.routes], whatever the dtype of activations and weights."""
        assert isinstance(self.router, Linear)
        kernel_DE = self.router.kernel[...].astype(jnp.float32)
        logit_NE = contract("nd,de->ne", x_ND.astype(jnp.float32), kernel_DE, exact=True)
        if self.router.bias is None:
            return logit_NE
        return logit_NE + self.router.bias[...].astype(jnp.float32)

    def _mixed(
        self,
        linears: ExpertLinears,
        x_ND: jax.Array,
        weight_NK: jax.Array,
        index_NK: jax.Array,
        first_N: jax.Array,
        *,
        on_gpu: bool = False,
        some: bool = False,
    ) -> jax.Array:
        """The weighted sum of the outputs of each token's experts, float32 [N, D].

        Args:
          linears: the experts' layers.
          x_ND: the tokens.
          weight_NK, index_NK: the weights and experts of each token.
          first_N: see `first_of_text`.
          on_gpu: whether the kernel for GPUs is used where it can be.
          some: see `expert_blocks.in_blocks`.
        """
        products = self.products
        blocks = partial(products.in_blocks, linears, some=some)
        by_kernel = on_gpu and products.fit_the_kernel(linears, x_ND)
        if isinstance(linears.up, Int8Experts):
            y_NKD = jax.lax.platform_dependent(
                x_ND,
                index_NK,
                first_N,
                tpu=partial(products.in_int8_by_ragged_dot, linears, some=some),
                default=partial(products.in_int8, linears, some=some, kernel=by_kernel),
            )
        elif by_kernel:
            y_NKD = products.by_kernel(linears, x_ND, index_NK, some=some)
        else:
            y_NKD = jax.lax.platform_dependent(
                x_ND,
                index_NK,
                tpu=partial(products.by_ragged_dot, linears, some=some),
                default=blocks,
            )
        return contract("nk,nkd->nd", weight_NK, y_NKD.astype(jnp.float32))

    def _mixed_over_devices(
        self,
        linears: ExpertLinears,
        x_ND: jax.Array,
        weight_NK: jax.Array,
        index_NK: jax.Array,
        first_N: jax.Array,
        *,
        on_gpu: bool = False,
    ) -> jax.Array:
        """`_mixed` where each device computes its own experts for the tokens that chose them."""
        graph, weights = nnx.split(linears)

        def own(weights, x_ND, weight_NK, index_NK, first_N):
            linears = nnx.merge(graph, weights)
            E = linears.E
            index_NK = index_NK - jax.lax.axis_index("model") * E
            index_NK = jnp.where(
                (index_NK >= 0) & (index_NK < E), index_NK, E
            )  # E: on another device
            y_ND = self._mixed(
                linears, x_ND, weight_NK, index_NK, first_N, on_gpu=on_gpu, some=True
            )
            return jax.lax.psum(y_ND, "model")

        everywhere, cut = PartitionSpec(), PartitionSpec("model")
        return jax.shard_map(
            own,
            in_specs=(cut, everywhere, everywhere, everywhere, everywhere),
            out_specs=everywhere,
            axis_names={"model"},
            check_vma=False,
        )(weights, x_ND, weight_NK, index_NK, first_N)

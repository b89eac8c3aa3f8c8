"""The products of experts with the tokens that chose them, in the ways that platforms have.

In blocks, by the kernel for GPUs, by `jax.lax.ragged_dot`, and in LLM.int8(); all give the same
numbers but for rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.encodings.blocks import BlockExperts
from jaxmap.model.encodings.four_bit import FourBitExperts
from jaxmap.model.encodings.grouped import GroupedExperts
from jaxmap.model.encodings.int8 import Int8Experts, same_text_and_expert
from jaxmap.model.expert_facts import ClampedSwiglu
from jaxmap.model.layers.linear import Linear, contract, multiply
from jaxmap.model.mlps.dense import ACTIVATIONS, clamped_swiglu
from jaxmap.model.mlps.expert_blocks import ExpertBlocks, in_blocks

# Layers with a leading axis of experts.
Unpacked = FourBitExperts | GroupedExperts | BlockExperts  # one expert at a time
_Floats = Linear | Unpacked
_Layer = _Floats | Int8Experts


class ExpertLinears(NamedTuple):
    """The linear layers of all experts; `gate` is None without a gated activation."""

    gate: _Layer | None
    up: _Layer
    down: _Layer

    @property
    def E(self) -> int:
        """The number of experts in the arrays."""
        return self.up.stacked


@dataclasses.dataclass(frozen=True)
class ExpertProducts:
    """Computes each token's experts, [N, D] and [N, k] -> [N, k, D].

    Fields:
      act: a key of dense.ACTIVATIONS.
      glu: set if the gated activation is not act(gate) * up.
    """

    act: str
    glu: ClampedSwiglu | None = None

    def in_blocks(
        self, linears: ExpertLinears, x_ND: jax.Array, index_NK: jax.Array, *, some: bool = False
    ) -> jax.Array:
        """The output of each token's experts, [N, k, D], computed in blocks.

        Args:
          linears: the experts' layers.
          x_ND: the tokens.
          index_NK: the experts of each token.
          some: see `expert_blocks.in_blocks`.
        """

        def run(expert: jax.Array, x_ND: jax.Array) -> jax.Array:
            def applied(linear: _Floats, x: jax.Array) -> jax.Array:
                y = contract(linear.equation, x, linear.one(expert), out_dtype=jnp.float32)
                return _biased(linear, y, expert).astype(x.dtype)

            return self._expert(linears, applied, x_ND)

        return in_blocks(run, x_ND, index_NK, linears.E, some=some)

    def fit_the_kernel(self, linears: ExpertLinears, x_ND: jax.Array) -> bool:
        """Whether the kernel for GPUs computes layers of this form for tokens of this dtype."""
        from jaxmap.model.kernels import experts_gpu  # importing Pallas takes a while

        if isinstance(linears.up, Int8Experts):
            return experts_gpu.supported(jnp.dtype(jnp.int8), *linears.up.weight.shape[1:])
        up = jax.eval_shape(linears.up.one, 0)
        plain = isinstance(linears.up, Unpacked) or x_ND.dtype in (up.dtype, jnp.float32)
        return plain and experts_gpu.supported(x_ND.dtype, *up.shape)

    def by_kernel(
        self,
        linears: ExpertLinears,
        x_ND: jax.Array,
        index_NK: jax.Array,
        *,
        some: bool = False,
        interpret: bool = False,
    ) -> jax.Array:
        """`in_blocks` by the kernel for GPUs; `interpret` runs it on any platform.

        Packed weights are unpacked for all experts of the layer.
        """
        from jaxmap.model.kernels import experts_gpu

        (N, K), E = index_NK.shape, linears.E
        blocks = ExpertBlocks.of(index_NK, E, experts_gpu.block_size(N * K, E), some=some)
        expert_S = blocks.expert(jnp.arange(blocks.count))

        def product(a: jax.Array, b: jax.Array, **_: Any) -> jax.Array:
            return experts_gpu.multiply(
                a, b, None, expert_S, out_dtype=jnp.float32, interpret=interpret
            )

        def applied(linear: _Floats, x_PD: jax.Array) -> jax.Array:
            kernel_EDF = _unpacked(linear)
            bias_EF = None if linear.bias is None else linear.bias[...]
            if x_PD.dtype != jnp.float32:
                kernel_EDF = kernel_EDF.astype(x_PD.dtype)
                return experts_gpu.multiply(
                    x_PD, kernel_EDF, bias_EF, expert_S, interpret=interpret
                )
            y_PF = multiply(product, x_PD, kernel_EDF)
            return _biased(linear, y_PF, jnp.repeat(expert_S, blocks.size))

        x_PD = x_ND.at[blocks.token_P].get(mode="fill", fill_value=0)
        y_PD = self._expert(linears, applied, x_PD)
        return blocks.choices(y_PD, some=some).reshape(N, K, -1)

    def in_int8(
        self,
        linears: ExpertLinears,
        x_ND: jax.Array,
        index_NK: jax.Array,
        first_N: jax.Array,
        *,
        some: bool = False,
        kernel: bool = False,
        interpret: bool = False,
    ) -> jax.Array:
        """`in_blocks` in LLM.int8(), whose outlier columns are found per text and expert.

        With `kernel` by the kernel for GPUs; `interpret` runs it on any platform.
        """
        (N, K), E = index_NK.shape, linears.E
        expert_M = index_NK.reshape(-1)
        group_M = same_text_and_expert(first_N, expert_M, E)

        def multiplied(
            run: Callable[[jax.Array, jax.Array], jax.Array], x_MI: jax.Array
        ) -> jax.Array:
            return in_blocks(run, x_MI, expert_M[:, None], E, some=some)[:, 0]

        def grouped(x_MI: jax.Array, weight_EOI: jax.Array) -> jax.Array:
            from jaxmap.model.kernels import experts_gpu

            size = experts_gpu.block_size(N * K, E)
            blocks = ExpertBlocks.of(expert_M[:, None], E, size, some=some)
            expert_S = blocks.expert(jnp.arange(blocks.count))

            def product(a: jax.Array, b: jax.Array, **_: Any) -> jax.Array:
                out_dtype = jnp.int32 if a.dtype == jnp.int8 else jnp.float32
                return experts_gpu.multiply(
                    *(a, b, None, expert_S),
                    out_dtype=out_dtype,
                    transposed=True,
                    interpret=interpret,
                )

            x_PI = x_MI.at[blocks.token_P].get(mode="fill", fill_value=0)
            whole = x_MI.dtype == jnp.int8
            y_PO = product(x_PI, weight_EOI) if whole else multiply(product, x_PI, weight_EOI)
            return blocks.choices(y_PO, some=some)

        def applied(layer: Int8Experts, x_MI: jax.Array) -> jax.Array:
            how = dict(grouped=grouped) if kernel else dict(multiplied=multiplied)
            y_MO = layer(x_MI, expert_M, group_M, **how)
            return _biased(layer, y_MO, expert_M).astype(x_MI.dtype)

        return self._expert(linears, applied, jnp.repeat(x_ND, K, axis=0)).reshape(N, K, -1)

    def by_ragged_dot(
        self, linears: ExpertLinears, x_ND: jax.Array, index_NK: jax.Array, *, some: bool = False
    ) -> jax.Array:
        """`in_blocks` by `jax.lax.ragged_dot`; packed weights are unpacked as in `by_kernel`."""
        choices = _Sorted.of(index_NK, linears.E)

        def applied(linear: _Floats, x_MD: jax.Array) -> jax.Array:
            y_MD = multiply(choices.product, x_MD, _unpacked(linear))
            return _biased(linear, y_MD, choices.expert_M).astype(x_MD.dtype)

        y_MD = self._expert(linears, applied, choices.rows(x_ND))
        if some:  # results beyond the last group are undefined
            y_MD = jnp.where((choices.expert_M < linears.E)[:, None], y_MD, 0)
        return choices.back(y_MD)

    def in_int8_by_ragged_dot(
        self,
        linears: ExpertLinears,
        x_ND: jax.Array,
        index_NK: jax.Array,
        first_N: jax.Array,
        *,
        some: bool = False,
    ) -> jax.Array:
        """`in_int8` by `jax.lax.ragged_dot`, which sums products of int8 in int32."""
        choices, E = _Sorted.of(index_NK, linears.E), linears.E
        group_M = same_text_and_expert(first_N, index_NK.reshape(-1), E)[choices.order_M]

        def grouped(x_MI: jax.Array, weight_EOI: jax.Array) -> jax.Array:
            weight_EIO = weight_EOI.swapaxes(1, 2)
            if x_MI.dtype == jnp.int8:
                y_MO = choices.product(x_MI, weight_EIO, preferred_element_type=jnp.int32)
            else:
                y_MO = multiply(choices.product, x_MI, weight_EIO)
            return jnp.where((choices.expert_M < E)[:, None], y_MO, 0) if some else y_MO

        def applied(layer: Int8Experts, x_MI: jax.Array) -> jax.Array:
            y_MO = layer(x_MI, choices.expert_M, group_M, grouped=grouped)
            return _biased(layer, y_MO, choices.expert_M).astype(x_MI.dtype)

        y_MD = self._expert(linears, applied, choices.rows(x_ND))
        if some:
            y_MD = jnp.where((choices.expert_M < E)[:, None], y_MD, 0)
        return choices.back(y_MD)

    def _expert(
        self,
        linears: ExpertLinears,
        applied: Callable[[Any, jax.Array], jax.Array],
        x_ND: jax.Array,
    ) -> jax.Array:
        """The two or three products of an expert, x_ND -> x_ND."""
        up_NF = applied(linears.up, x_ND)
        if linears.gate is None:
            return applied(linears.down, ACTIVATIONS[self.act](up_NF))
        gate_NF = applied(linears.gate, x_ND)
        if (glu := self.glu) is not None:
            hidden_NF = clamped_swiglu(glu, gate_NF, up_NF)
        else:
            hidden_NF = ACTIVATIONS[self.act](gate_NF) * up_NF
        return applied(linears.down, hidden_NF)


class _Sorted(NamedTuple):
    """The choices of all tokens in the order of their experts.

    Fields:
      order_M: the index of each choice, by token and then by rank.
      expert_M: its expert; E: none.
      size_E: the number of choices of each expert.
      K: the number of experts of a token.
    """

    order_M: jax.Array
    expert_M: jax.Array
    size_E: jax.Array
    K: int

    @classmethod
    def of(cls, index_NK: jax.Array, E: int) -> _Sorted:
        order_M = jnp.argsort(index_NK.reshape(-1), stable=True)
        expert_M = index_NK.reshape(-1)[order_M]
        return cls(order_M, expert_M, jnp.bincount(expert_M, length=E), index_NK.shape[1])

    def rows(self, x_ND: jax.Array) -> jax.Array:
        """The token of each choice, [M, D]."""
        return x_ND[self.order_M // self.K]

    def product(self, x_MD: jax.Array, kernel_EDF: jax.Array, **how: Any) -> jax.Array:
        """Each row times the matrix of its expert, [M, F]; rows without one are undefined."""
        return jax.lax.ragged_dot(x_MD, kernel_EDF, self.size_E, **how)

    def back(self, y_MD: jax.Array) -> jax.Array:
        """The results of each token's choices, [N, K, D]."""
        y_MD = jnp.zeros_like(y_MD).at[self.order_M].set(y_MD)
        return y_MD.reshape(-1, self.K, y_MD.shape[-1])


def _unpacked(linear: _Floats) -> jax.Array:
    """The matrices of all experts, which packed layers unpack."""
    if isinstance(linear, Linear):
        return linear.kernel[...]
    graph, arrays = nnx.split(linear)

    def one(arrays: nnx.State) -> jax.Array:
        alone = nnx.merge(graph, jax.tree.map(lambda x: x[None], arrays))
        return alone.one(0)

    # Not `one` of each index: on a TPU that copies all experts for each of them.
    return jax.vmap(one)(arrays)


def _biased(linear: _Layer, y: jax.Array, expert: jax.Array) -> jax.Array:
    """Adds the bias of one expert, or of each row's expert."""
    return y if linear.bias is None else y + linear.bias[...][expert].astype(jnp.float32)

"""Linear layers in 8 bit whose activations are quantised too: LLM.int8(), as bitsandbytes does it.

The layers stand in for `Linear` in a decoder and are called like it. I is input features, O output
features, N tokens of a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxmap.errors import InputError
from jaxmap.model.encodings.base import Kernel
from jaxmap.model.inputs import Positions, first_of_text
from jaxmap.model.layers.linear import Linear, contract, parameter

OUTLIER = 6.0  # activations of this magnitude or more keep their column out of 8 bit
_FEW = 32  # columns that are taken apart from the others
Columns = jax.Array | slice  # some of the input features


def round_rows(x_NI: jax.Array, absmax_N: jax.Array) -> jax.Array:
    """Each row as int8, its `absmax` as 127; halves to even."""
    # In this order: where a value is half the largest, the last bit decides.
    scale_N = jnp.where(absmax_N > 0, 1 / absmax_N, 0) * 127
    return jnp.round(x_NI.astype(jnp.float32) * scale_N[:, None]).astype(jnp.int8)


def quantise_rows(weight_OI: jax.Array) -> tuple[jax.Array, jax.Array]:
    """int8 weights and the largest magnitude of each row, float32 [O]; float16 comes first."""
    half_OI = weight_OI.astype(jnp.float16)
    absmax_O = jnp.abs(half_OI).max(1).astype(jnp.float32)
    return round_rows(half_OI, absmax_O), absmax_O


def int8_product(
    x_NI: jax.Array, weight_OI: jax.Array, absmax_O: jax.Array, group_N: jax.Array
) -> jax.Array:
    """LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339): x_NI times the weights, float32 [N, O].

    A column of activations that reaches 6 anywhere in a text is multiplied, for that text, in the
    activations' dtype with dequantised weights; the others as int8, each token scaled by its
    largest magnitude below 6, and accumulated in int32.

    Args:
      x_NI: activations; they are rounded to float16 before they are quantised.
      weight_OI, absmax_O: from `quantise_rows`.
      group_N: the same for tokens of one text, below N: the place of its first token.
    """

    def small(code_NI: jax.Array) -> jax.Array:
        sum_NO = jnp.einsum("ni,oi->no", code_NI, weight_OI, preferred_element_type=jnp.int32)
        return sum_NO.astype(jnp.float32) * absmax_O

    def large(rest_NC: jax.Array, columns: Columns) -> jax.Array:
        rest_OC = dequantise_rows(weight_OI[:, columns], absmax_O).astype(x_NI.dtype)
        return contract("nc,oc->no", rest_NC, rest_OC, out_dtype=jnp.float32)

    return _in_two_parts(x_NI, group_N, small, large)


def dequantise_rows(weight_OI: jax.Array, absmax_O: jax.Array) -> jax.Array:
    """What `quantise_rows` stands for, float32."""
    return weight_OI.astype(jnp.float32) * (absmax_O / 127)[:, None]


def _in_two_parts(
    x_NI: jax.Array,
    group_N: jax.Array,
    small: Callable[[jax.Array], jax.Array],
    large: Callable[[jax.Array, Columns], jax.Array],
) -> jax.Array:
    """What `small` makes of the int8 codes, scaled, plus what `large` does of outlier columns.

    Where a batch has no outliers the second is left out, and where it has them in few columns, as
    is usual, only these are given to it (a quarter of the time on a CPU, the same numbers).
    """
    half_NI = x_NI.astype(jnp.float16)
    large_NI = jnp.abs(half_NI) >= OUTLIER
    some = large_NI.any()

    def columns(large_NI: jax.Array) -> jax.Array:
        of_text = jax.ops.segment_max(large_NI.astype(jnp.int8), group_N, len(group_N))
        return of_text[group_N] > 0

    apart_NI = jax.lax.cond(some, columns, lambda large_NI: large_NI, large_NI)
    absmax_N = jnp.where(large_NI, 0, jnp.abs(half_NI)).max(1).astype(jnp.float32)
    code_NI = jnp.where(apart_NI, 0, round_rows(jnp.where(apart_NI, 0, half_NI), absmax_N))
    y_NO = small(code_NI) * (absmax_N[:, None] * (1 / 127**2))

    def with_large(y_NO: jax.Array) -> jax.Array:
        rest_NI, apart_I = jnp.where(apart_NI, x_NI, 0), apart_NI.any(0)
        if len(apart_I) <= _FEW:
            return y_NO + large(rest_NI, slice(None))
        column_C = jax.lax.top_k(apart_I.astype(jnp.int8), _FEW)[1]
        return y_NO + jax.lax.cond(
            apart_I.sum() <= _FEW,
            lambda: large(rest_NI[:, column_C], column_C),
            lambda: large(rest_NI, slice(None)),
        )

    return jax.lax.cond(some, with_large, lambda y_NO: y_NO, y_NO)


class Int8Linear(nnx.Module):
    """A `Linear` in 8 bit, whose activations are quantised too.

    Fields:
      inputs: how many of the last axes of the activations are input features.
      outputs: the shape of the output features.
      weight, absmax: int8 and float32, see `quantise_rows`; `letters` are those of the first
        output and the first input feature.
    """

    def __init__(
        self,
        weight: jax.Array,
        absmax: jax.Array,
        *,
        inputs: int,
        outputs: tuple[int, ...],
        bias: nnx.Param | None,
        letters: str = "",
    ):
        self.inputs = inputs
        self.outputs = outputs
        self.weight = parameter(weight, letters)
        self.absmax = parameter(absmax, letters[:1])
        self.bias = bias

    def __call__(self, x: jax.Array, where: Positions) -> jax.Array:
        weight_OI = self.weight[...]
        x_NI = x.reshape(-1, weight_OI.shape[1])
        y_NO = int8_product(x_NI, weight_OI, self.absmax[...], first_of_text(where))
        y = y_NO.reshape(*x.shape[: -self.inputs], *self.outputs)
        if self.bias is not None:
            y = y + self.bias[...].astype(jnp.float32)
        return y.astype(x.dtype)


def same_text_and_expert(first_N: jax.Array, expert_M: jax.Array, E: int) -> jax.Array:
    """A number below M that choices of one expert by tokens of one text share, int32 [M].

    Args:
      first_N: see `first_of_text`.
      expert_M: the choices of each token, as many for each, one token after another; E for one
        that another device computes.
      E: how many experts there are.
    """
    key_M = jnp.repeat(first_N, len(expert_M) // len(first_N)) * (E + 1) + expert_M
    order_M = jnp.argsort(key_M)
    new_M = jnp.diff(key_M[order_M], prepend=-1) != 0
    return jnp.zeros_like(key_M).at[order_M].set(jnp.cumsum(new_M, dtype=key_M.dtype) - 1)


class Int8Experts(nnx.Module):
    """A stack of kernels in 8 bit, one an expert.

    Fields:
      weight, absmax: int8 [E, O, I] and float32 [E, O], see `quantise_rows`.
    """

    def __init__(self, weight: jax.Array, absmax: jax.Array, *, bias: nnx.Param | None):
        self.weight = parameter(weight, "x  ")
        self.absmax = parameter(absmax, "x ")
        self.bias = bias

    @property
    def stacked(self) -> int:
        """How many experts."""
        return self.weight.shape[0]

    def __call__(
        self,
        x_MI: jax.Array,
        expert_M: jax.Array,
        group_M: jax.Array,
        multiplied: Callable[[Callable[[jax.Array, jax.Array], jax.Array], jax.Array], jax.Array],
    ) -> jax.Array:
        """Each row of activations through its expert in LLM.int8(), float32 [M, O].

        Args:
          x_MI, expert_M, group_M: rows, their experts, and of which text and expert they are.
          multiplied: (run, rows) -> run(expert, some of the rows) for all of them.
        """

        def small(code_MI: jax.Array) -> jax.Array:
            def run(expert: jax.Array, code_bI: jax.Array) -> jax.Array:
                weight_OI = self.weight[...][expert]
                return jnp.einsum("bi,oi->bo", code_bI, weight_OI, preferred_element_type=jnp.int32)

            return multiplied(run, code_MI).astype(jnp.float32) * self.absmax[...][expert_M]

        def large(rest_MC: jax.Array, columns: Columns) -> jax.Array:
            def run(expert: jax.Array, rest_bC: jax.Array) -> jax.Array:
                weight_OC = self.weight[...][expert][:, columns]
                rest_OC = dequantise_rows(weight_OC, self.absmax[...][expert])
                rest_OC = rest_OC.astype(rest_bC.dtype)
                return contract("bc,oc->bo", rest_bC, rest_OC, out_dtype=jnp.float32)

            return multiplied(run, rest_MC)

        return _in_two_parts(x_MI, group_M, small, large)


class Int8:
    """The encoding: a row of output features at a time."""

    name = "int8"

    def linear(self, kernels: Sequence[Kernel]) -> list[Int8Linear]:
        """Rows are quantised alone, so it does not matter what is stored together."""
        return [self._one(kernel) for kernel in kernels]

    def _one(self, kernel: Kernel) -> Int8Linear:
        weight, absmax = _each(kernel.held, kernel.inputs)
        _check_finite(kernel.name, absmax)
        if not kernel.stacked:
            weight, absmax = weight[0], absmax[0]
        return Int8Linear(
            weight,
            absmax,
            inputs=kernel.inputs,
            outputs=tuple(how.held for how in kernel.extents[kernel.inputs :]),
            bias=kernel.linear.bias,
            letters=kernel.linear.letters[kernel.inputs] + kernel.linear.letters[0],
        )

    def experts(self, name: str, linear: Linear) -> Int8Experts:
        """Each expert's matrix alone; kernels [L, E, in, out]."""
        kernels = linear.kernel[...]
        L, E, *inner = kernels.shape
        weight, absmax = _each(kernels.reshape(L * E, *inner), 1)
        _check_finite(name, absmax)
        return Int8Experts(
            weight.reshape(L, E, *weight.shape[1:]), absmax.reshape(L, E, -1), bias=linear.bias
        )


@partial(jax.jit, static_argnums=1)
def _each(kernels: jax.Array, inputs: int) -> tuple[jax.Array, jax.Array]:
    """`quantise_rows` of kernels with a leading axis of them, whose next `inputs` are inputs."""

    def one(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        I = int(np.prod(kernel.shape[:inputs]))  # noqa: E741 input features
        return quantise_rows(kernel.reshape(I, -1).T)

    return jax.lax.map(one, kernels)


def _check_finite(name: str, absmax: jax.Array) -> None:
    if not bool(jnp.isfinite(absmax).all()):
        raise InputError(f"int8: weights of {name} overflow float16, from which they are quantised")

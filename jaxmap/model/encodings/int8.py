"""LLM.int8() as in bitsandbytes: linear layers with 8-bit weights and 8-bit activations.

The layers replace `Linear` in a decoder and are called in the same way. In array names, I is
input features, O output features and N the tokens of a batch.
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
from jaxmap.model.encodings.codes import OUTLIER
from jaxmap.model.inputs import Positions, first_of_text
from jaxmap.model.layers.linear import Linear, contract, parameter

_FEW = 32  # up to so many outlier columns are gathered instead of multiplying all columns
Columns = jax.Array | slice  # a selection of the input features


def round_rows(x_NI: jax.Array, absmax_N: jax.Array) -> jax.Array:
    """Each row as int8 [N, I], scaled so that `absmax` becomes 127, halves rounded to even."""
    # The order of the operations matters: a quotient of exactly a half depends on the last bit.
    scale_N = jnp.where(absmax_N > 0, 1 / absmax_N, 0) * 127
    return jnp.round(x_NI.astype(jnp.float32) * scale_N[:, None]).astype(jnp.int8)


def quantise_rows(weight_OI: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The weights as int8 [O, I], rounded to float16 first, and each row's largest magnitude.

    The magnitudes are float32 [O].
    """
    half_OI = weight_OI.astype(jnp.float16)
    absmax_O = jnp.abs(half_OI).max(1).astype(jnp.float32)
    return round_rows(half_OI, absmax_O), absmax_O


def int8_product(
    x_NI: jax.Array, weight_OI: jax.Array, absmax_O: jax.Array, group_N: jax.Array
) -> jax.Array:
    """LLM.int8() (Dettmers et al. 2022, arXiv:2208.07339): x_NI times the weights, float32 [N, O].

    A column with an activation of magnitude 6 or more anywhere in a text is an outlier column of
    that text: it is multiplied in the activations' dtype with dequantised weights. The other
    columns are multiplied as int8, each token scaled by its largest magnitude below 6, and
    accumulated in int32.

    Args:
      x_NI: activations; they are rounded to float16 before they are quantised.
      weight_OI, absmax_O: from `quantise_rows`.
      group_N: the text of each token, as the index of the text's first token, int32.
    """

    def small(code_NI: jax.Array) -> jax.Array:
        sum_NO = jnp.einsum("ni,oi->no", code_NI, weight_OI, preferred_element_type=jnp.int32)
        return sum_NO.astype(jnp.float32) * absmax_O

    def large(rest_NC: jax.Array, columns: Columns) -> jax.Array:
        rest_OC = dequantise_rows(weight_OI[:, columns], absmax_O).astype(x_NI.dtype)
        return _exactly("nc,oc->no", rest_NC, rest_OC)

    return _in_two_parts(x_NI, group_N, small, large)


def _exactly(equation: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """A product of a few columns, float32. Numbers of 16 bits are made longer first, which changes
    none of them: XLA:CPU has no product of bfloat16 inside a condition."""
    if a.dtype != jnp.float32:
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
        return contract(equation, a, b, exact=True)
    return contract(equation, a, b)


def dequantise_rows(weight_OI: jax.Array, absmax_O: jax.Array) -> jax.Array:
    """The inverse of `quantise_rows`: float32 [O, I]."""
    return weight_OI.astype(jnp.float32) * (absmax_O / 127)[:, None]


def _in_two_parts(
    x_NI: jax.Array,
    group_N: jax.Array,
    small: Callable[[jax.Array], jax.Array],
    large: Callable[[jax.Array, Columns], jax.Array],
) -> jax.Array:
    """The sum of `small` on the int8 codes, scaled, and `large` on the outlier columns.

    `large` is not called if a batch has no outliers. If few columns have outliers, as is usual,
    `large` gets only these: the numbers are the same in a quarter of the time on a CPU.
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
    """A `Linear` with 8-bit weights and 8-bit activations.

    Fields:
      weight, absmax: int8 [O, I] and float32 [O] from `quantise_rows`.
      inputs: how many of the last axes of the activations are input features.
      outputs: the shape of the output features.
      letters: the letters of the first output and the first input axis (see `mesh`).
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
    """Numbers the pairs of text and expert: int32 [M], equal where text and expert are equal.

    Args:
      first_N: see `first_of_text`.
      expert_M: the experts chosen by each token, M / N per token; E stands for an expert of
        another device.
      E: the number of experts.
    """
    key_M = jnp.repeat(first_N, len(expert_M) // len(first_N)) * (E + 1) + expert_M
    order_M = jnp.argsort(key_M)
    new_M = jnp.diff(key_M[order_M], prepend=-1) != 0
    return jnp.zeros_like(key_M).at[order_M].set(jnp.cumsum(new_M, dtype=key_M.dtype) - 1)


class Int8Experts(nnx.Module):
    """A stack of kernels in 8 bits, one per expert.

    Fields:
      weight, absmax: int8 [E, O, I] and float32 [E, O], see `quantise_rows`.
    """

    def __init__(self, weight: jax.Array, absmax: jax.Array, *, bias: nnx.Param | None):
        self.weight = parameter(weight, "x  ")
        self.absmax = parameter(absmax, "x ")
        self.bias = bias

    @property
    def stacked(self) -> int:
        """The number of experts."""
        return self.weight.shape[0]

    def __call__(
        self,
        x_MI: jax.Array,
        expert_M: jax.Array,
        group_M: jax.Array,
        *,
        multiplied: Callable[[Callable[[jax.Array, jax.Array], jax.Array], jax.Array], jax.Array]
        | None = None,
        grouped: Callable[[jax.Array, jax.Array], jax.Array] | None = None,
    ) -> jax.Array:
        """Multiplies each row of activations by its expert's kernel, float32 [M, O].

        Takes either `multiplied` or `grouped`.

        Args:
          x_MI: activations.
          expert_M: the expert of each row.
          group_M: numbers the pairs of text and expert, from `same_text_and_expert`.
          multiplied: (run, rows) -> the results of run(expert, rows of this expert), in the order
            of the rows.
          grouped: (rows, weights [E, O, I]) -> the product of each row with the transposed matrix
            of its expert, int32 of int8 and else float32.
        """

        def small(code_MI: jax.Array) -> jax.Array:
            def run(expert: jax.Array, code_bI: jax.Array) -> jax.Array:
                weight_OI = self.weight[...][expert]
                return jnp.einsum("bi,oi->bo", code_bI, weight_OI, preferred_element_type=jnp.int32)

            if grouped is not None:
                sum_MO = grouped(code_MI, self.weight[...])
            else:
                assert multiplied is not None
                sum_MO = multiplied(run, code_MI)
            return sum_MO.astype(jnp.float32) * self.absmax[...][expert_M]

        def large(rest_MC: jax.Array, columns: Columns) -> jax.Array:
            if grouped is not None:
                weight_EOC = self.weight[...][:, :, columns]
                rest_EOC = jax.vmap(dequantise_rows)(weight_EOC, self.absmax[...])
                return grouped(rest_MC, rest_EOC.astype(rest_MC.dtype))

            def run(expert: jax.Array, rest_bC: jax.Array) -> jax.Array:
                weight_OC = self.weight[...][expert][:, columns]
                rest_OC = dequantise_rows(weight_OC, self.absmax[...][expert])
                rest_OC = rest_OC.astype(rest_bC.dtype)
                return _exactly("bc,oc->bo", rest_bC, rest_OC)

            assert multiplied is not None
            return multiplied(run, rest_MC)

        return _in_two_parts(x_MI, group_M, small, large)


class Int8:
    """The encoding "int8": every row of output features has a scale of its own."""

    name = "int8"

    def linear(self, kernels: Sequence[Kernel]) -> list[Int8Linear]:
        """Quantises each kernel by itself: rows are independent, fused or not."""
        return [self._one(kernel) for kernel in kernels]

    def _one(self, kernel: Kernel) -> Int8Linear:
        weight, absmax = _each(kernel.padded, kernel.inputs)
        _check_finite(kernel.name, absmax)
        if not kernel.stacked:
            weight, absmax = weight[0], absmax[0]
        return Int8Linear(
            weight,
            absmax,
            inputs=kernel.inputs,
            outputs=tuple(how.padded for how in kernel.extents[kernel.inputs :]),
            bias=kernel.linear.bias,
            letters=kernel.linear.letters[kernel.inputs] + kernel.linear.letters[0],
        )

    def experts(self, name: str, linear: Linear) -> Int8Experts:
        """Quantises each expert's matrix by itself; the kernels are [L, E, in, out]."""
        kernels = linear.kernel[...]
        L, E, *inner = kernels.shape
        weight, absmax = _each(kernels.reshape(L * E, *inner), 1)
        _check_finite(name, absmax)
        return Int8Experts(
            weight.reshape(L, E, *weight.shape[1:]), absmax.reshape(L, E, -1), bias=linear.bias
        )


@partial(jax.jit, static_argnums=1)
def _each(kernels: jax.Array, inputs: int) -> tuple[jax.Array, jax.Array]:
    """`quantise_rows` of each of a stack of kernels, whose first `inputs` axes are inputs."""

    def one(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        I = int(np.prod(kernel.shape[:inputs]))  # noqa: E741 input features
        return quantise_rows(kernel.reshape(I, -1).T)

    return jax.lax.map(one, kernels)


def _check_finite(name: str, absmax: jax.Array) -> None:
    if not bool(jnp.isfinite(absmax).all()):
        raise InputError(f"int8: weights of {name} overflow float16, where they are rounded first")

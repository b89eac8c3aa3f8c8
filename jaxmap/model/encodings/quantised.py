"""Linear layers whose weights are held in 8 or 4 bit, as bitsandbytes quantises them.

They stand in for `Linear` in a decoder and are called like it. I is input features, O output
features, N tokens of a batch.
"""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxmap.architectures.rows import Row
from jaxmap.model.extent import Extent
from jaxmap.model.inputs import Inputs
from jaxmap.model.layers.linear import contract, parameter
from jaxmap.model.mesh import laid_out

# The code tables, by the 4-bit code, divided so that the largest is 1.
CODES: dict[str, np.ndarray] = {
    # 4-bit floating point: a sign, two bits of exponent, one of mantissa, zero and a subnormal.
    "fp4": np.array(
        [0, 0.0625, 8, 12, 4, 6, 2, 3, -0.0, -0.0625, -8, -12, -4, -6, -2, -3], np.float32
    )
    / np.float32(12),
    # Quantiles of the normal distribution (QLoRA, arXiv:2305.14314, appendix E).
    "nf4": np.array(
        [
            *(-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453),
            *(-0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0),
            *(0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224),
            *(0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0),
        ],
        np.float32,
    ),
}
BLOCK = 64  # weights that share a scale
OUTLIER = 6.0  # activations of this magnitude or more keep their column out of 8 bit
_FEW = 32  # columns that are taken apart from the others
Columns = jax.Array | slice  # some of the input features


def pack(weight_X: jax.Array, code: str) -> tuple[jax.Array, jax.Array]:
    """Blockwise 4-bit quantisation of a tensor, flattened as it is stored.

    Each block of 64 is divided by its largest magnitude and each weight given the nearest value of
    the table; the first of two weights is the high half of its byte.

    Returns the codes, uint8 [ceil(X / 2)], and the scales, float32 [ceil(X / 64)].
    """
    (X,) = weight_X.shape
    order = np.argsort(CODES[code], kind="stable")
    value = CODES[code][order]
    bound = (value[1:] + value[:-1]) / 2
    x_ZB = jnp.pad(weight_X.astype(jnp.float32), (0, -X % BLOCK)).reshape(-1, BLOCK)
    scale_Z = jnp.abs(x_ZB).max(1)
    some_Z = jnp.where(scale_Z > 0, scale_Z, 1)
    unit_ZB = x_ZB * (1 / some_Z)[:, None]
    if X % BLOCK:  # bitsandbytes divides in a last block that is not whole
        unit_ZB = unit_ZB.at[-1].set(x_ZB[-1] / some_Z[-1])
    rank_ZB = (unit_ZB[..., None] > bound).sum(-1, dtype=jnp.uint8)
    code_X = jnp.asarray(order, jnp.uint8)[rank_ZB].reshape(-1)[: X + X % 2]
    return (code_X[0::2] << 4) | code_X[1::2], scale_Z


def unpack(packed: jax.Array, scale_Z: jax.Array, code: str, X: int) -> jax.Array:
    """The X weights that `pack` stands for, float32 [X]; of several, with leading axes."""
    table, lead = jnp.asarray(CODES[code]), packed.shape[:-1]
    pairs = jnp.stack([table[packed >> 4], table[packed & 15]], axis=-1)
    x_X = pairs.reshape(*lead, -1)[..., :X]
    padded_X = jnp.pad(x_X, [(0, 0)] * len(lead) + [(0, -X % BLOCK)])
    x_ZB = padded_X.reshape(*lead, -1, BLOCK) * scale_Z[..., None]
    return x_ZB.reshape(*lead, -1)[..., :X]


class Packed(nnx.Module):
    """A stored tensor (out, in) in 4 bit; the parts of a fused one are read from the same.

    Where every row is whole blocks, rows are held apart, and a mesh cuts over them.

    Args:
      packed, scale: of the flat tensor, see `pack`; with a leading axis of layers outside the scan
        over them.
    """

    def __init__(self, packed: jax.Array, scale: jax.Array, *, code: str, shape: tuple[int, ...]):
        O, I = shape  # noqa: E741 output and input features
        if I % BLOCK == 0:
            packed, scale = (x.reshape(*x.shape[:-1], O, -1) for x in (packed, scale))
        self.letters = "o " if I % BLOCK == 0 else "  "
        self.packed = parameter(packed, self.letters)  # uint8, two weights a byte
        self.scale = parameter(scale, self.letters)  # float32, one a block
        self.code = code
        self.shape = shape

    def __call__(self) -> jax.Array:
        """The tensor, float32."""
        apart = self.packed[...].ndim > 1
        count = self.shape[1] if apart else math.prod(self.shape)
        return unpack(self.packed[...], self.scale[...], self.code, count).reshape(self.shape)


class FourBitExperts(nnx.Module):
    """A stack of kernels in 4 bit, one an expert, which is unpacked alone.

    Each is quantised as torch's Linear holds it, (out, in), whatever the file looked like.
    """

    def __init__(
        self,
        equation: str,
        packed: jax.Array,
        scale: jax.Array,
        *,
        code: str,
        shape: tuple[int, int],
        bias: nnx.Param | None,
    ):
        self.equation = equation
        self.packed = parameter(packed, "x ")  # uint8 [E, bytes]
        self.scale = parameter(scale, "x ")  # float32 [E, blocks]
        self.code = code
        self.shape = shape  # (out, in)
        self.bias = bias

    @property
    def stacked(self) -> int:
        """How many experts."""
        return self.packed.shape[0]

    def one(self, i: jax.Array) -> jax.Array:
        """The kernel of an expert, float32 (in, out)."""
        count = math.prod(self.shape)
        stored = unpack(self.packed[...][i], self.scale[...][i], self.code, count)
        return stored.reshape(self.shape).T


class FourBitLinear(nnx.Module):
    """A `Linear` on dequantised weights, rounded to the activations' dtype.

    Fields:
      weights: the stored tensor, that of other layers too if it is fused.
      row, shape: which part of it the kernel is, and the kernel's shape.
      inputs_first: the stored tensor was transposed before it was quantised.
      extents: how a mesh holds the kernel's axes; empty: as they are.
    """

    def __init__(
        self,
        equation: str,
        weights: Packed,
        row: Row,
        shape: tuple[int, ...],
        *,
        inputs_first: bool,
        bias: nnx.Param | None,
        extents: tuple[Extent, ...] = (),
    ):
        self.equation = equation
        self.weights = weights
        self.row = row
        self.shape = shape
        self.inputs_first = inputs_first
        self.bias = bias
        self.extents = extents

    def __call__(self, x: jax.Array) -> jax.Array:
        # Cut as the codes are until here, and as a kernel from here on: what devices exchange is
        # the dequantised kernel where inputs are cut, and nothing where rows are.
        stored = laid_out(self.weights().astype(x.dtype), self.weights.letters)
        kernel = self.row.read(stored.T if self.inputs_first else stored, self.shape)
        for axis, extent in enumerate(self.extents):
            kernel = extent.pad(kernel, axis)
        kernel = laid_out(kernel, self.equation.replace("->", ",").split(",")[1])
        y = contract(self.equation, x, kernel, out_dtype=jnp.float32)
        if self.bias is not None:
            y = y + self.bias[...].astype(jnp.float32)
        return y.astype(x.dtype)


_FIRST_OF_TEXT: contextvars.ContextVar[jax.Array] = contextvars.ContextVar("first_of_text")


@contextlib.contextmanager
def texts_apart(inputs: Inputs) -> Iterator[None]:
    """Tells the int8 layers called inside which tokens of the batch are of one text."""
    B, T = inputs.position_BT.shape
    place_BT = jnp.arange(B * T, dtype=jnp.int32).reshape(B, T)
    # Every place of padding has position 0: a text of its own.
    with texts_from((place_BT - inputs.position_BT).reshape(-1)):
        yield


def first_of_text() -> jax.Array | None:
    """The place of the first token of each token's text, int32 [N]; None outside `texts_apart`."""
    return _FIRST_OF_TEXT.get(None)


@contextlib.contextmanager
def texts_from(first_N: jax.Array | None) -> Iterator[None]:
    """`texts_apart` from what `first_of_text` gave."""
    if first_N is None:
        yield
        return
    token = _FIRST_OF_TEXT.set(first_N)
    try:
        yield
    finally:
        _FIRST_OF_TEXT.reset(token)


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
    """A `Linear` in 8 bit, whose activations are quantised too; called inside `texts_apart`.

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

    def __call__(self, x: jax.Array) -> jax.Array:
        weight_OI = self.weight[...]
        x_NI = x.reshape(-1, weight_OI.shape[1])
        y_NO = int8_product(x_NI, weight_OI, self.absmax[...], _FIRST_OF_TEXT.get())
        y = y_NO.reshape(*x.shape[: -self.inputs], *self.outputs)
        if self.bias is not None:
            y = y + self.bias[...].astype(jnp.float32)
        return y.astype(x.dtype)


def same_text_and_expert(expert_M: jax.Array, K: int, E: int) -> jax.Array:
    """A number below M that choices of one expert by tokens of one text share, int32 [M].

    expert_M: the K choices of each token, one token after another. Inside `texts_apart`.
    """
    key_M = jnp.repeat(_FIRST_OF_TEXT.get(), K) * (E + 1) + expert_M  # E: another device's
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

"""Blockwise 4-bit quantisation of weights as in bitsandbytes: nf4 and fp4.

The layers replace `Linear` in a decoder and are called in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxmap.model.encodings.base import Kernel
from jaxmap.model.encodings.dequantised import DequantisedLinear
from jaxmap.model.layers.linear import Linear, parameter
from jaxmap.model.layout import Layout, joined

# The value of each 4-bit code, scaled so that the largest is 1.
CODES: dict[str, np.ndarray] = {
    # 4-bit floating point: one sign bit, two exponent bits, one mantissa bit, with subnormals.
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


def pack(weight_X: jax.Array, code: str) -> tuple[jax.Array, jax.Array]:
    """Quantises a flattened tensor to 4 bits, in blocks of 64 weights (bitsandbytes' layout).

    Each block is divided by its largest magnitude, and each weight is replaced by the nearest
    value of the table. The first of two weights is in the high half of its byte.

    Args:
      weight_X: float weights, in the order in which the tensor is stored.
      code: "nf4" or "fp4".

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
    if X % BLOCK:  # bitsandbytes divides, rather than multiplies, in an incomplete last block
        unit_ZB = unit_ZB.at[-1].set(x_ZB[-1] / some_Z[-1])
    rank_ZB = (unit_ZB[..., None] > bound).sum(-1, dtype=jnp.uint8)
    code_X = jnp.asarray(order, jnp.uint8)[rank_ZB].reshape(-1)[: X + X % 2]
    return (code_X[0::2] << 4) | code_X[1::2], scale_Z


def unpack(packed: jax.Array, scale_Z: jax.Array, code: str, X: int) -> jax.Array:
    """The inverse of `pack`: float32 [..., X] from arrays that may have leading axes."""
    table, lead = jnp.asarray(CODES[code]), packed.shape[:-1]
    pairs = jnp.stack([table[packed >> 4], table[packed & 15]], axis=-1)
    x_X = pairs.reshape(*lead, -1)[..., :X]
    padded_X = jnp.pad(x_X, [(0, 0)] * len(lead) + [(0, -X % BLOCK)])
    x_ZB = padded_X.reshape(*lead, -1, BLOCK) * scale_Z[..., None]
    return x_ZB.reshape(*lead, -1)[..., :X]


class Packed(nnx.Module):
    """A stored tensor (out, in) in 4 bits, which the parts of a fused tensor share.

    If every row consists of whole blocks, the arrays have an axis of rows, which a mesh divides.

    Args:
      packed, scale: the flattened tensor from `pack`, with a leading axis of layers outside the
        scan over layers.
      code: "nf4" or "fp4".
      shape: the shape of the stored tensor.
    """

    def __init__(self, packed: jax.Array, scale: jax.Array, *, code: str, shape: tuple[int, ...]):
        O, I = shape  # noqa: E741 output and input features
        if I % BLOCK == 0:
            packed, scale = (x.reshape(*x.shape[:-1], O, -1) for x in (packed, scale))
        self.letters = "o " if I % BLOCK == 0 else "  "
        self.packed = parameter(packed, self.letters)  # uint8, two weights per byte
        self.scale = parameter(scale, self.letters)  # float32, one per block
        self.code = code
        self.shape = shape

    def __call__(self) -> jax.Array:
        """The tensor, float32."""
        apart = self.packed[...].ndim > 1
        count = self.shape[1] if apart else math.prod(self.shape)
        return unpack(self.packed[...], self.scale[...], self.code, count).reshape(self.shape)


class FourBitExperts(nnx.Module):
    """A stack of kernels in 4 bits, one per expert; experts are unpacked one at a time.

    Each is quantised in the order of torch's Linear, (out, in), whatever the order in the file.
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
        """The number of experts."""
        return self.packed.shape[0]

    def one(self, i: jax.Array | int) -> jax.Array:
        """The kernel of expert `i`, float32 [in, out]."""
        count = math.prod(self.shape)
        stored = unpack(self.packed[...][i], self.scale[...][i], self.code, count)
        return stored.reshape(self.shape).T


class FourBit:
    """The encodings "nf4" and "fp4", which differ in their table of values."""

    def __init__(self, name: str):
        self.name = name

    def linear(self, kernels: Sequence[Kernel]) -> list[DequantisedLinear]:
        """Quantises a stored tensor as a whole, even if it holds the kernels of several layers."""
        first = kernels[0]
        stored_shape = first.layout.stored_shape(first.shape)
        shape = stored_shape[::-1] if first.inputs_first else stored_shape
        packed, scale = _packed(
            tuple(kernel.stored for kernel in kernels),
            tuple(kernel.layout for kernel in kernels),
            shape,
            first.inputs_first,
            self.name,
        )
        if not first.stacked:
            packed, scale = packed[0], scale[0]
        weights = Packed(packed, scale, code=self.name, shape=shape)
        return [
            DequantisedLinear(
                kernel.linear.equation,
                weights,
                kernel.layout,
                kernel.shape,
                inputs_first=first.inputs_first,
                bias=kernel.linear.bias,
                extents=kernel.extents,
            )
            for kernel in kernels
        ]

    def experts(self, name: str, linear: Linear) -> FourBitExperts:
        """Quantises each expert's matrix by itself; the kernels are [L, E, in, out]."""
        kernels = linear.kernel[...]
        L, E, *inner = kernels.shape
        packed, scale = _packed_each(kernels.reshape(L * E, *inner), self.name)
        return FourBitExperts(
            linear.equation,
            packed.reshape(L, E, -1),
            scale.reshape(L, E, -1),
            code=self.name,
            shape=(inner[1], inner[0]),
            bias=linear.bias,
        )


@partial(jax.jit, static_argnums=1)
def _packed_each(kernels: jax.Array, code: str) -> tuple[jax.Array, jax.Array]:
    """Codes and scales of kernels [n, in, out], each with a leading axis of n."""
    return jax.lax.map(lambda kernel: pack(kernel.T.reshape(-1), code), kernels)


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _packed(
    kernels: tuple[jax.Array, ...],
    layouts: tuple[Layout, ...],
    shape: tuple[int, ...],
    inputs_first: bool,
    code: str,
) -> tuple[jax.Array, jax.Array]:
    """Codes and scales of the stored tensors, each with a leading axis of layers."""

    def one(parts: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        stored = joined(layouts, parts)
        stored = stored.T if inputs_first else stored
        assert stored.shape == shape, f"parts make {stored.shape}, not {shape}"
        return pack(stored.reshape(-1), code)

    return jax.lax.map(one, kernels)

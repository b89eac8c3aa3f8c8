"""Products of activations and weights, in the precision that was chosen, and linear layers."""

from __future__ import annotations

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.layers import fused_products
from jaxmap.precision import PRECISIONS, Precision

_PRECISION: contextvars.ContextVar[Precision | None] = contextvars.ContextVar(
    "precision", default=None
)


@contextlib.contextmanager
def computing_in(dtype: str) -> Iterator[None]:
    """Products traced in this context are computed in `dtype`, a key of PRECISIONS.

    Outside of any such context they are computed in the operands' own dtype.
    """
    token = _PRECISION.set(PRECISIONS[dtype])
    try:
        yield
    finally:
        _PRECISION.reset(token)


def activated(x: jax.Array) -> jax.Array:
    """Weights that become activations, such as embeddings, cast to the activations' dtype."""
    return x.astype(activations_dtype(x))


def activations_dtype(weights: jax.Array) -> jnp.dtype:
    """The dtype of activations: what the precision says, otherwise the dtype of `weights`."""
    precision = _PRECISION.get()
    return jnp.dtype(weights.dtype if precision is None else precision.activations)


def bfloat16_passes() -> int:
    """Products of bfloat16 that stand for one of float32 where the precision says so; 0: none."""
    precision = _PRECISION.get()
    return 0 if precision is None else precision.passes


def multiply(
    product: Callable[..., jax.Array], a: jax.Array, b: jax.Array, *, exact: bool = False
) -> jax.Array:
    """Applies the bilinear function `product` to `a` and `b`; the result is float32.

    `a` is activations, `b` weights or activations. float32 operands are multiplied as float32 on
    every backend: the defaults of GPUs (TF32) and TPUs (bfloat16) lose 13 to 16 of the 24 bits of
    the mantissa. In the precision "bfloat16_3x", unless `exact`, each operand is split into a high
    and a low bfloat16 part, and three products of parts are added, smallest first, which leaves 16
    bits or more (Henry, Tang and Heinecke 2019, arXiv:1904.06376). Two products suffice for
    bfloat16 weights, which have no low part. Weights that are stored in fewer bits than the
    activations lose none.
    """
    whole = b.dtype == jnp.bfloat16
    b = b.astype(a.dtype)
    precision = _PRECISION.get()
    if a.dtype != jnp.float32 or precision is None or not precision.passes or exact:
        how = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
        return product(a, b, precision=how, preferred_element_type=jnp.float32)

    def of(a: jax.Array, b: jax.Array) -> jax.Array:
        return product(a, b, precision=None, preferred_element_type=jnp.float32)

    # Written out instead of `precision="high"`, which the CPU ignores.
    (a_high, a_low), (b_high, b_low) = halves(a), halves(b)
    rest = of(a_low, b_high) if whole else of(a_low, b_high) + of(a_high, b_low)
    return rest + of(a_high, b_high)


def halves(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Splits float32 into a sum of two bfloat16 numbers, to a relative error below 2^-16."""
    # XLA may remove a conversion to bfloat16 and back, but not this operation.
    high = jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)
    return high.astype(jnp.bfloat16), (x - high).astype(jnp.bfloat16)


def contract(
    equation: str, a: jax.Array, b: jax.Array, *, out_dtype=None, exact: bool = False
) -> jax.Array:
    """Einsum of two arrays, accumulated in float32 and rounded once to `out_dtype`.

    The default of `out_dtype` is the dtype of `a`; `exact` is explained in `multiply`.
    """

    def product(a: jax.Array, b: jax.Array, **how) -> jax.Array:
        return jnp.einsum(equation, a, b, **how)

    return multiply(product, a, b, exact=exact).astype(out_dtype or a.dtype)


def parameter(value: jax.Array, letters: str = "") -> nnx.Param:
    """A parameter with one letter for each of its last axes, by which `mesh` divides them."""
    return nnx.Param(value, letters=letters)


class Linear(nnx.Module):
    """A linear layer whose einsum equation documents its axes: "btd,dhc->bthc".

    Args:
      equation: einsum of the activations and one kernel.
      shape: the shape of the kernel, with the leading axis of `stack`.
      bias: the shape of the bias; None: no bias.
      stack: the letter of a leading axis of several kernels, which the equation leaves out.
    """

    def __init__(
        self,
        equation: str,
        shape: Sequence[int],
        *,
        bias: Sequence[int] | None = None,
        stack: str = "",
        dtype,
        rngs: nnx.Rngs,
    ):
        self.equation = equation
        _, letters, outputs = equation.replace("->", ",").split(",")
        kernel = nnx.initializers.normal(0.02)(rngs.params(), tuple(shape), dtype)
        self.letters = letters
        self.kernel = parameter(kernel, stack + letters)
        of_bias = stack + "".join(letter for letter in letters if letter in outputs)
        self.bias = None if bias is None else parameter(jnp.zeros(tuple(bias), dtype), of_bias)

    @property
    def stacked(self) -> int:
        """The number of kernels in a stack."""
        return self.kernel.shape[0]

    def one(self, i: jax.Array | int) -> jax.Array:
        """Kernel `i` of a stack."""
        return self.kernel[...][i]

    def __call__(self, x: jax.Array, where: object = None) -> jax.Array:
        """Applies the layer to activations. Only Int8Linear reads more of `where` (`Positions`).

        On an accelerator (`Geometry.platform`) heads and channels are one axis of the product, so
        that the result lies in memory as the kernels read it. On a GPU a kernel adds the bias
        where one can (`fused.multiply`).
        """
        platform = getattr(where, "platform", "")
        if platform == "gpu" and self.bias is not None:
            y = by_gpu_kernel([self], x)
            if y is not None:
                return y
        if platform:
            return self._as_matrix(x)
        y = contract(self.equation, x, self.kernel[...], out_dtype=jnp.float32)
        if self.bias is not None:
            y = y + self.bias[...].astype(jnp.float32)
        return y.astype(x.dtype)

    @property
    def inner(self) -> int:
        """The number of axes of the kernel that are summed over, its first ones."""
        return sum(letter in self.letters for letter in self.equation.split(",")[0])

    @property
    def matrix(self) -> jax.Array:
        """The kernel with one axis for all inputs of an output, and one for all outputs."""
        kernel = self.kernel[...]
        return kernel.reshape(math.prod(kernel.shape[: self.inner]), -1)

    def _as_matrix(self, x: jax.Array) -> jax.Array:
        """The product of x and `matrix`."""
        lead, outer = x.shape[: x.ndim - self.inner], self.kernel.shape[self.inner :]
        y = contract("...k,kn->...n", x.reshape(*lead, -1), self.matrix, out_dtype=jnp.float32)
        if self.bias is not None:
            y = y + self.bias[...].reshape(-1).astype(jnp.float32)
        return y.astype(x.dtype).reshape(*lead, *outer)


def added(stream: jax.Array, linear: nnx.Module, x: jax.Array, where: object) -> jax.Array:
    """stream + linear(x), on a GPU in the product's kernel where one can (`fused.multiply`).

    Args:
      stream: the residual stream, in the shape of the layer's output.
      linear, x, where: a layer, its activations and its other argument, see `Linear`.
    """
    y = None
    if getattr(where, "platform", "") == "gpu":
        y = by_gpu_kernel([linear], x, stream=stream)
    return stream + linear(x, where) if y is None else y


def by_gpu_kernel(
    linears: Sequence[nnx.Module],
    x: jax.Array,
    act: str = "",
    *,
    stream: jax.Array | None = None,
    interpret: bool = False,
) -> jax.Array | None:
    """act(first x), of two layers act(first x) * (second x), by the kernel for GPUs.

    Args:
      linears: one or two layers of the same shape.
      x: the activations.
      act, interpret: see `fused.multiply`.
      stream: what the result is added to; None: nothing.

    Returns the result in the dtype of x, or None where the kernel cannot compute it (see there), or
    a layer is no `Linear` but a packed one.
    """
    plain = [linear for linear in linears if type(linear) is Linear]
    if len(plain) < len(linears):
        return None
    first = plain[0]
    lead, outer = x.shape[: x.ndim - first.inner], first.kernel.shape[first.inner :]
    biases = [None if linear.bias is None else linear.bias[...].reshape(-1) for linear in plain]
    y_NF = fused_products.multiply(
        x.reshape(math.prod(lead), -1),
        [linear.matrix for linear in plain],
        biases,
        act,
        None if stream is None else stream.reshape(math.prod(lead), -1),
        interpret=interpret,
    )
    return None if y_NF is None else y_NF.reshape(*lead, *outer)

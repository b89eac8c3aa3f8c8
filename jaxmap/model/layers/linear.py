"""The one way in which activations meet weights."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.precision import PRECISIONS, Precision

_PRECISION: contextvars.ContextVar[Precision | None] = contextvars.ContextVar(
    "precision", default=None
)


@contextlib.contextmanager
def computing_in(dtype: str) -> Iterator[None]:
    """What is traced inside is computed in one of PRECISIONS; outside, in its operands' dtype."""
    token = _PRECISION.set(PRECISIONS[dtype])
    try:
        yield
    finally:
        _PRECISION.reset(token)


def activated(x: jax.Array) -> jax.Array:
    """Weights, such as embeddings, that become activations: in the dtype of activations."""
    return x.astype(activations_dtype(x))


def activations_dtype(weights: jax.Array) -> jnp.dtype:
    """The dtype of activations beside these weights: theirs, unless the precision says."""
    precision = _PRECISION.get()
    return jnp.dtype(weights.dtype if precision is None else precision.activations)


def multiply(
    product: Callable[..., jax.Array], a: jax.Array, b: jax.Array, *, exact: bool = False
) -> jax.Array:
    """`product`, bilinear, of activations and weights (or of activations), float32.

    float32 operands are multiplied as float32 on every backend: the defaults of GPUs (TF32) and
    TPUs (bfloat16) lose 13 to 16 of the 24 bits of the mantissa. Where the precision says so, and
    not `exact`, they are taken apart into a high and a low bfloat16 part each, and three products
    of parts are added up, smallest first, which leaves 16 bits or more (Henry, Tang and Heinecke
    2019, arXiv:1904.06376); two, where the weights are bfloat16 and have no low part. Weights that
    are held in fewer bits than activations lose none.
    """
    whole = b.dtype == jnp.bfloat16
    b = b.astype(a.dtype)
    precision = _PRECISION.get()
    if a.dtype != jnp.float32 or precision is None or not precision.passes or exact:
        how = jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None
        return product(a, b, precision=how, preferred_element_type=jnp.float32)

    def of(a: jax.Array, b: jax.Array) -> jax.Array:
        return product(a, b, precision=None, preferred_element_type=jnp.float32)

    # Written out, not as a flag of the product: the CPU ignores the flag.
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    rest = of(a_low, b_high) if whole else of(a_low, b_high) + of(a_high, b_low)
    return rest + of(a_high, b_high)


def _halves(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """float32 as a sum of two bfloat16 numbers, less than 2^-16 of it left over."""
    # XLA may drop a pair of conversions, but not this.
    high = jax.lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)
    return high.astype(jnp.bfloat16), (x - high).astype(jnp.bfloat16)


def contract(
    equation: str, a: jax.Array, b: jax.Array, *, out_dtype=None, exact: bool = False
) -> jax.Array:
    """Einsum of two arrays, accumulated in float32 and rounded once to `out_dtype`.

    See `multiply`. `out_dtype` is that of `a` unless given.
    """

    def product(a: jax.Array, b: jax.Array, **how) -> jax.Array:
        return jnp.einsum(equation, a, b, **how)

    return multiply(product, a, b, exact=exact).astype(out_dtype or a.dtype)


def parameter(value: jax.Array, letters: str = "") -> nnx.Param:
    """A parameter that says what its axes are, the last ones, a letter each (see `mesh`)."""
    return nnx.Param(value, letters=letters)


class Linear(nnx.Module):
    """A named kernel; the equation is its documentation: "btd,dhc->bthc".

    `stack` is the letter of a leading axis that the equation leaves out: as many kernels.
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
        """How many kernels a stack has."""
        return self.kernel.shape[0]

    def one(self, i: jax.Array) -> jax.Array:
        """A kernel of a stack."""
        return self.kernel[...][i]

    def __call__(self, x: jax.Array, where: object = None) -> jax.Array:
        """Of activations; where their tokens stand (`Positions`) matters in 8 bit alone."""
        y = contract(self.equation, x, self.kernel[...], out_dtype=jnp.float32)
        if self.bias is not None:
            y = y + self.bias[...].astype(jnp.float32)
        return y.astype(x.dtype)

"""Products whose bias, activation and sum with the residual stream are computed in one kernel."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from jaxmap.model.mesh import model_devices

_LOG2E = math.log2(math.e)


def _times_sigmoid(x: jax.Array, y: jax.Array) -> jax.Array:
    """x sigmoid(y), in operations that Triton has."""
    return x / (1 + jnp.exp2(-_LOG2E * y))


def _gelu(x: jax.Array) -> jax.Array:
    """`dense._gelu_by_tanh`, as x (1 + tanh(u)) / 2 = x sigmoid(2 u)."""
    z, u = x * x, jnp.float32(GELU[-1])
    for coefficient in GELU[-2::-1]:
        u = u * z + coefficient
    return _times_sigmoid(x, 2 * u * x)


def _gelu_tanh(x: jax.Array) -> jax.Array:
    """Hendrycks and Gimpel 2016, arXiv:1606.08415: x sigmoid(2 sqrt(2 / pi) (x + 0.044715 x^3))."""
    return _times_sigmoid(x, 2 * math.sqrt(2 / math.pi) * x * (1 + 0.044715 * x * x))


def _relu(x: jax.Array) -> jax.Array:
    return jnp.maximum(x, 0.0)


# Exact GELU is x (1 + tanh(u)) / 2 to 3.1e-6, where u = x (GELU[0] + GELU[1] x^2 + ...), an odd
# polynomial in place of atanh(erf(x / sqrt 2)): the one of its degree with the least largest error.
GELU = (0.79782814, 0.036468789, -1.2486122e-4, -3.0581090e-5, 1.1190872e-6)
# Functions of float32 numbers that a kernel for GPUs computes, by their names in config.json.
FUSED: dict[str, Callable[[jax.Array], jax.Array]] = {
    "gelu": _gelu,
    "gelu_fast": _gelu_tanh,
    "gelu_new": _gelu_tanh,
    "gelu_pytorch_tanh": _gelu_tanh,
    "relu": _relu,
    "relu2": lambda x: jnp.square(_relu(x)),
    "silu": lambda x: _times_sigmoid(x, x),
    "swish": lambda x: _times_sigmoid(x, x),
}


def multiply(
    x_ND: jax.Array,
    kernels: Sequence[jax.Array],
    biases: Sequence[jax.Array | None],
    act: str = "",
    onto_NF: jax.Array | None = None,
    *,
    interpret: bool = False,
) -> jax.Array | None:
    """act(x kernel + bias), of two matrices act(x first) * (x second), by the kernel for GPUs.

    Args:
      x_ND, kernels, biases: see `product_gpu.multiply`.
      act: a key of FUSED; "": the identity.
      onto_NF: what the result is added to, in the dtype of x; None: nothing.
      interpret: whether to interpret the kernel on any platform.

    Returns the result in the dtype of x, rounded once, or None where the kernel cannot compute it:
    in 32 bits, for weights of another dtype, on a mesh that divides them, and for products that are
    large enough to be better left to a library.
    """
    # Before Pallas is imported, which takes a while.
    if jnp.dtype(x_ND.dtype).itemsize != 2 or model_devices() > 1:
        return None
    from jaxmap.model.kernels import product_gpu

    if onto_NF is not None and onto_NF.dtype != x_ND.dtype:
        return None
    # A library's product with a bias and a stream leaves twice as much to a kernel of its own.
    twice = onto_NF is not None and biases[0] is not None
    if not product_gpu.supported(x_ND, kernels, most=(1 + twice) * product_gpu.MOST):
        return None

    def product(x_ND: jax.Array, kernels: list, biases: list, onto_NF: Any) -> jax.Array:
        return product_gpu.multiply(
            x_ND, kernels, biases, FUSED[act] if act else None, onto_NF, interpret=interpret
        )

    if not jax.sharding.get_abstract_mesh().empty:  # a kernel sees the part of one device
        everywhere = PartitionSpec()
        product = jax.shard_map(
            product,
            in_specs=(everywhere, everywhere, everywhere, everywhere),
            out_specs=everywhere,
            axis_names={"model"},
            check_vma=False,
        )
    return product(x_ND, list(kernels), list(biases), onto_NF)

"""Products of activations and weights on a GPU, with what follows them: a Pallas kernel.

Compiled by Triton. XLA has kernels for such products, but writes the sums of one with a bias or an
activation as float32, which another kernel reads again. Here they are rounded once, when all is
done, to the 16 bits that are read next.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

_ROWS = 128  # tokens of a tile
_COLUMNS = 128  # columns of a matrix in a tile
_CHANNELS = 64  # the most channels that are multiplied at a time
_LEAST = 16  # the fewest channels that the matrix units multiply
# The most channels of a token. Of a product of more, the sums are a small part of the work, and a
# library's kernel, which a device may choose, need only be a little faster to be the better one.
MOST = 2048


def supported(x: jax.Array, kernels: Sequence[jax.Array], *, most: int = MOST) -> bool:
    """Whether the kernel multiplies tokens and matrices of these shapes and dtypes.

    All must have the same 16 bits, and tiles must be whole.

    Args:
      x, kernels: see `multiply`.
      most: the most channels of a token.
    """
    N, D = x.shape
    return (
        x.dtype in (jnp.bfloat16, jnp.float16)
        and N % _ROWS == 0
        and D % _LEAST == 0
        and most >= D
        and all(kernel.dtype == x.dtype and kernel.shape[1] >= _COLUMNS for kernel in kernels)
    )


def multiply(
    x_ND: jax.Array,
    kernels: Sequence[jax.Array],
    biases: Sequence[jax.Array | None],
    act: Callable[[jax.Array], jax.Array] | None = None,
    onto_NF: jax.Array | None = None,
    *,
    interpret: bool = False,
) -> jax.Array:
    """act(x kernel + bias); of two matrices act(x first + its bias) * (x second + its bias).

    Args:
      x_ND: the tokens.
      kernels: one or two matrices [D, F].
      biases: the bias of each, [F]; None: there is none.
      act: a function of float32 numbers in operations that Triton has; None: the identity.
      onto_NF: what the result is added to; None: nothing.
      interpret: whether to interpret the kernel on any platform.

    Returns [N, F], computed in float32, in the dtype of the tokens.
    """
    (N, D), F = x_ND.shape, kernels[0].shape[1]
    given = [bias for bias in biases if bias is not None]
    streams = [] if onto_NF is None else [onto_NF]
    tiles, count = pl.cdiv(F, _COLUMNS), len(kernels)
    products = N * tiles * _COLUMNS
    return pl.pallas_call(
        partial(
            _kernel, biased=tuple(bias is not None for bias in biases), act=act,
            channels=math.gcd(D, _CHANNELS), added=bool(streams),
        ),
        grid=(tiles, N // _ROWS),
        in_specs=[
            pl.BlockSpec((_ROWS, D), lambda f, n: (n, 0)),
            *[pl.BlockSpec((D, F), lambda f, n: (0, 0))] * count,
            *[pl.BlockSpec((F,), lambda f, n: (0,))] * len(given),
            *[pl.BlockSpec((_ROWS, F), lambda f, n: (n, 0))] * len(streams),
        ],
        out_specs=pl.BlockSpec((_ROWS, F), lambda f, n: (n, 0)),
        out_shape=jax.ShapeDtypeStruct((N, F), x_ND.dtype),
        compiler_params=plgpu.CompilerParams(num_warps=8, num_stages=3),
        metadata={
            "flops": str(2 * products * D * count),
            "transcendentals": str(products if act else 0),
            "bytes_accessed": str(
                sum(array.nbytes for array in (x_ND, *kernels, *streams))
                + N * F * x_ND.dtype.itemsize
            ),
        },
        interpret=interpret,
        name="product",
    )(x_ND, *kernels, *given, *streams)  # fmt: skip


def _kernel(
    x_ref, *refs, biased: tuple[bool, ...], act: Callable | None, channels: int, added: bool
):
    """One program: a tile of tokens and _COLUMNS columns of the matrices."""
    *inputs, out_ref = refs
    kernel_refs, bias_refs = inputs[: len(biased)], iter(inputs[len(biased) :])
    D = x_ref.shape[1]
    # The last tile starts earlier, so that it is whole; some columns are then computed twice.
    begin = jnp.minimum(pl.program_id(0) * _COLUMNS, out_ref.shape[1] - _COLUMNS)
    own = pl.ds(begin, _COLUMNS)

    def add(k, sums):
        inner = pl.ds(k * channels, channels)
        x_NK = x_ref[:, inner]
        return tuple(
            sum_NF + plgpu.dot(x_NK, kernel_ref[inner, own])
            for sum_NF, kernel_ref in zip(sums, kernel_refs, strict=True)
        )

    start = tuple(jnp.zeros((_ROWS, _COLUMNS), jnp.float32) for _ in kernel_refs)
    sums = list(jax.lax.fori_loop(0, D // channels, add, start))
    for i, has_bias in enumerate(biased):
        if has_bias:
            sums[i] = sums[i] + next(bias_refs)[own].astype(jnp.float32)[None]
    y_NF = sums[0] if act is None else act(sums[0])
    for factor_NF in sums[1:]:
        y_NF = y_NF * factor_NF
    if added:
        y_NF = y_NF + inputs[-1][:, own].astype(jnp.float32)
    out_ref[:, own] = y_NF.astype(out_ref.dtype)

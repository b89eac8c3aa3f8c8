"""Products of experts on a GPU: a Pallas kernel, compiled by Triton.

Tokens are gathered into blocks, each of which has one expert (`jaxmap.model.mlps.expert_blocks`).
Each program of the kernel multiplies a block with some columns of its expert's matrix, so that only
the chosen experts are computed, all of them at once.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu

_ROWS = 128  # the most tokens in a block
_COLUMNS = 128  # the most columns of a matrix in a tile
_CHANNELS = 64  # the most channels that are multiplied at a time
_LEAST = 16  # the fewest rows, columns and channels that the matrix units multiply


def supported(dtype: jnp.dtype, *sizes: int) -> bool:
    """Whether the kernel multiplies matrices of these sizes, of operands of this dtype.

    They must be float16, bfloat16, float32 or int8, which takes twice as many channels at a time.
    """
    known = (jnp.bfloat16, jnp.float16, jnp.float32, jnp.int8)
    least = 2 * _LEAST if dtype == jnp.int8 else _LEAST
    return dtype in known and all(size % least == 0 for size in sizes)


def block_size(choices: int, E: int) -> int:
    """The number of tokens in a block, so that incomplete blocks add an eighth at most.

    Blocks have no fewer tokens than the matrix units multiply, however few there are.
    """
    size = _ROWS
    while size > _LEAST and 8 * size * E > choices:
        size //= 2
    return size


def multiply(
    x_PD: jax.Array,
    kernel_EDF: jax.Array,
    bias_EF: jax.Array | None,
    expert_S: jax.Array,
    *,
    out_dtype: Any = None,
    transposed: bool = False,
    interpret: bool = False,
) -> jax.Array:
    """Multiplies each block of tokens with its expert's matrix and adds the bias.

    float32 is multiplied as float32, not in the fewer bits of TF32.

    Args:
      x_PD: the tokens of all blocks, P = S x the size of a block.
      kernel_EDF: the matrices of all experts, of the same dtype.
      bias_EF: their biases; None: there are none.
      expert_S: the expert of each block.
      out_dtype: the dtype of the result; None: that of the tokens, of int8 int32.
      transposed: whether the matrices are [E, F, D].
      interpret: whether to interpret the kernel on any platform.

    Returns [P, F], summed in float32, of int8 in int32.
    """
    (P, D), E, S = x_PD.shape, kernel_EDF.shape[0], len(expert_S)
    F = kernel_EDF.shape[1 if transposed else 2]
    whole = x_PD.dtype == jnp.int8
    out_dtype = jnp.dtype(out_dtype or (jnp.int32 if whole else x_PD.dtype))
    rows, columns = P // S, _power_of_2(min(F, _COLUMNS))
    tiles = pl.cdiv(F, columns)
    biases = () if bias_EF is None else (bias_EF.astype(jnp.float32),)
    return pl.pallas_call(
        partial(
            _kernel, columns=columns, transposed=transposed,
            channels=math.gcd(D, _CHANNELS if x_PD.dtype.itemsize <= 2 else _CHANNELS // 2),
        ),
        grid=(tiles, S),
        in_specs=[
            pl.BlockSpec((1,), lambda f, s: (s,)),
            pl.BlockSpec((rows, D), lambda f, s: (s, 0)),
            pl.BlockSpec(kernel_EDF.shape, lambda f, s: (0, 0, 0)),
            *[pl.BlockSpec((E, F), lambda f, s: (0, 0))] * len(biases),
        ],
        out_specs=pl.BlockSpec((rows, F), lambda f, s: (s, 0)),
        out_shape=jax.ShapeDtypeStruct((P, F), out_dtype),
        compiler_params=plgpu.CompilerParams(num_warps=8 if rows > 64 else 4, num_stages=3),
        metadata={
            "flops": str(2 * P * D * tiles * columns),
            "transcendentals": "0",
            "bytes_accessed": str(x_PD.nbytes + kernel_EDF.nbytes + P * F * out_dtype.itemsize),
        },
        interpret=interpret,
        name="experts",
    )(expert_S, x_PD, kernel_EDF, *biases)  # fmt: skip


def _power_of_2(n: int) -> int:
    """The largest power of two that is at most n."""
    return 1 << (n.bit_length() - 1)


def _kernel(expert_ref, x_ref, kernel_ref, *refs, columns: int, channels: int, transposed: bool):
    """One program: a block of tokens and `columns` columns of its expert's matrix."""
    *bias_refs, out_ref = refs
    rows, D = x_ref.shape
    expert = expert_ref[0]
    # The last tile starts earlier, so that it is whole; some columns are then computed twice.
    begin = jnp.minimum(pl.program_id(0) * columns, out_ref.shape[1] - columns)
    own = pl.ds(begin, columns)

    def add(k, sum_bF):
        inner = pl.ds(k * channels, channels)
        x_bK = x_ref[:, inner]
        if transposed:
            kernel_KF = kernel_ref[expert, own, inner].T
        else:
            kernel_KF = kernel_ref[expert, inner, own]
        how = jax.lax.Precision.HIGHEST if x_bK.dtype == jnp.float32 else None
        return sum_bF + plgpu.dot(x_bK, kernel_KF, precision=how)

    whole = x_ref.dtype == jnp.int8
    start = jnp.zeros((rows, columns), jnp.int32 if whole else jnp.float32)
    y_bF = jax.lax.fori_loop(0, D // channels, add, start)
    for bias_ref in bias_refs:
        y_bF = y_bF + bias_ref[expert, own][None]
    out_ref[:, own] = y_bF.astype(out_ref.dtype)

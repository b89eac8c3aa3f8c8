"""Layers whose weights stay in the blocks of a GGUF file, and what each type of block means.

A row of a matrix is a run of blocks, each of some numbers that share scales. The functions here
take blocks as bytes, uint8 [..., bytes], and return float32 [..., numbers]. They follow the layouts
of ggml (ggml-quants.c and the gguf package) in the order of its operations: all products but one
are exact in float32, so that the result is the same to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.model.encodings.codes import BLOCK_TYPES, Blocks
from jaxmap.model.layers.linear import parameter

# Non-uniform values of four bits: IQ4_NL and IQ4_XS, and the doubled 4-bit floats of MXFP4.
_IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
_E2M1 = (0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)


def _half(block: jax.Array, at: int) -> jax.Array:
    """The float16 at a byte of each block, as float32 [..., 1]."""
    pair = block[..., at : at + 2]
    return jax.lax.bitcast_convert_type(pair, jnp.float16)[..., None].astype(jnp.float32)


def _signed(block: jax.Array) -> jax.Array:
    return jax.lax.bitcast_convert_type(block, jnp.int8)


def _digits(block: jax.Array, bits: int, run: int) -> jax.Array:
    """Numbers of a few bits, int32 [..., 8 / bits times the bytes].

    Of each run of bytes the lowest bits of all come first, then the next ones.
    """
    lead, count = block.shape[:-1], block.shape[-1]
    shift = jnp.arange(0, 8, bits, dtype=jnp.uint8)[:, None]
    apart = block.reshape(*lead, count // run, 1, run) >> shift & (1 << bits) - 1
    return apart.reshape(*lead, count * 8 // bits).astype(jnp.int32)


def _scaled(scale: jax.Array, code: jax.Array, least: jax.Array | None = None) -> jax.Array:
    """Codes [..., n] times scales [..., groups], less an offset for each group."""
    groups = scale.shape[-1]
    apart = code.astype(jnp.float32).reshape(*code.shape[:-1], groups, -1)
    value = scale[..., None] * apart
    if least is not None:
        value = value - least[..., None]
    return value.reshape(code.shape)


def _q4_0(b: jax.Array) -> jax.Array:
    return _scaled(_half(b, 0), _digits(b[..., 2:], 4, 16) - 8)


def _q4_1(b: jax.Array) -> jax.Array:
    return _scaled(_half(b, 0), _digits(b[..., 4:], 4, 16), -_half(b, 2))


def _fifth(b: jax.Array, at: int) -> jax.Array:
    """Codes of 5 bits: 32 high bits, then the low halves."""
    return _digits(b[..., at + 4 :], 4, 16) + 16 * _digits(b[..., at : at + 4], 1, 1)


def _q5_0(b: jax.Array) -> jax.Array:
    return _scaled(_half(b, 0), _fifth(b, 2) - 16)


def _q5_1(b: jax.Array) -> jax.Array:
    return _scaled(_half(b, 0), _fifth(b, 4), -_half(b, 2))


def _q8_0(b: jax.Array) -> jax.Array:
    return _scaled(_half(b, 0), _signed(b[..., 2:]))


def _q2_k(b: jax.Array) -> jax.Array:
    scale, least = b[..., :16] & 15, b[..., :16] >> 4
    return _scaled(
        _half(b, 80) * scale.astype(jnp.float32),
        _digits(b[..., 16:80], 2, 32),
        _half(b, 82) * least.astype(jnp.float32),
    )


def _q3_k(b: jax.Array) -> jax.Array:
    scale = _digits(b[..., 96:104], 4, 8) + 16 * _digits(b[..., 104:108], 2, 4) - 32
    code = _digits(b[..., 32:96], 2, 32) + 4 * _digits(b[..., :32], 1, 32) - 4
    return _scaled(_half(b, 108) * scale.astype(jnp.float32), code)


def _sixths(b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Eight scales and eight offsets of 6 bits in 12 bytes, times the block's two float16."""
    low, high, rest = b[..., 4:8], b[..., 8:12], b[..., 12:16]
    scale = jnp.concatenate([low & 63, rest & 15 | low >> 2 & 48], axis=-1)
    least = jnp.concatenate([high & 63, rest >> 4 | high >> 2 & 48], axis=-1)
    return (
        _half(b, 0) * scale.astype(jnp.float32),
        _half(b, 2) * least.astype(jnp.float32),
    )


def _q4_k(b: jax.Array) -> jax.Array:
    scale, least = _sixths(b)
    return _scaled(scale, _digits(b[..., 16:], 4, 32), least)


def _q5_k(b: jax.Array) -> jax.Array:
    scale, least = _sixths(b)
    code = _digits(b[..., 48:], 4, 32) + 16 * _digits(b[..., 16:48], 1, 32)
    return _scaled(scale, code, least)


def _q6_k(b: jax.Array) -> jax.Array:
    code = _digits(b[..., :128], 4, 64) + 16 * _digits(b[..., 128:192], 2, 32) - 32
    return _scaled(_half(b, 208) * _signed(b[..., 192:208]).astype(jnp.float32), code)


def _iq4_nl(b: jax.Array) -> jax.Array:
    return _scaled(_half(b, 0), jnp.asarray(_IQ4)[_digits(b[..., 2:], 4, 16)])


def _iq4_xs(b: jax.Array) -> jax.Array:
    scale = _digits(b[..., 4:8], 4, 1) + 16 * _digits(b[..., 2:4], 2, 1) - 32
    code = jnp.asarray(_IQ4)[_digits(b[..., 8:], 4, 16)]
    return _scaled(_half(b, 0) * scale.astype(jnp.float32), code)


def _mxfp4(b: jax.Array) -> jax.Array:
    # 2^(e - 128), made of bits; the two smallest are subnormal, which XLA may take for zero.
    e = b[..., :1].astype(jnp.uint32)
    bits = jnp.where(e < 2, jnp.uint32(0x00200000) << e, (e - 1) << 23)
    scale = jax.lax.bitcast_convert_type(bits, jnp.float32)
    return _scaled(scale, jnp.asarray(_E2M1)[_digits(b[..., 1:], 4, 16)])


def _floats(dtype: str, size: int, b: jax.Array) -> jax.Array:
    numbers = b.reshape(*b.shape[:-1], -1, size)
    return jax.lax.bitcast_convert_type(numbers, jnp.dtype(dtype)).astype(jnp.float32)


DECODERS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "F32": partial(_floats, "float32", 4),
    "F16": partial(_floats, "float16", 2),
    "BF16": partial(_floats, "bfloat16", 2),
    "Q8_0": _q8_0,
    "Q4_0": _q4_0,
    "Q4_1": _q4_1,
    "Q5_0": _q5_0,
    "Q5_1": _q5_1,
    "Q2_K": _q2_k,
    "Q3_K": _q3_k,
    "Q4_K": _q4_k,
    "Q5_K": _q5_k,
    "Q6_K": _q6_k,
    "IQ4_NL": _iq4_nl,
    "IQ4_XS": _iq4_xs,
    "MXFP4": _mxfp4,
}
assert DECODERS.keys() == BLOCK_TYPES.keys()


def floats(meaning: Blocks, blocks: jax.Array, kind: jax.Array | None = None) -> jax.Array:
    """The weights that a matrix in blocks stands for, float32 [O, I].

    Args:
      meaning: the shape and the types of block.
      blocks: uint8 [O, bytes of a row]; rows of a type that needs fewer bytes are filled up.
      kind: int32, the index of the type among those of `meaning` that have several.
    """

    def decoded(name: str, blocks: jax.Array) -> jax.Array:
        size = BLOCK_TYPES[name].num_bytes
        rows = blocks[:, : meaning.row_bytes(name)].reshape(meaning.shape[0], -1, size)
        return DECODERS[name](rows).reshape(meaning.shape)

    each = [partial(decoded, name) for name in meaning.kinds]
    return each[0](blocks) if kind is None else jax.lax.switch(kind, each, blocks)


class BlockMatrix(nnx.Module):
    """A stored tensor (out, in) in blocks; its arrays have a leading axis of layers outside the
    scan over them."""

    letters = "o "

    def __init__(self, meaning: Blocks, arrays: dict[str, jax.Array]):
        self.meaning = meaning
        self.blocks = parameter(arrays["blocks"], "o ")
        self.kind = parameter(arrays["kind"]) if "kind" in arrays else None

    def __call__(self) -> jax.Array:
        """The tensor, float32 [O, I]."""
        return floats(self.meaning, self.blocks[...], None if self.kind is None else self.kind[...])


class BlockExperts(nnx.Module):
    """A stack of kernels in blocks, one per expert; each is made floats by itself.

    The arrays are those of `BlockMatrix` with a leading axis of experts.
    """

    def __init__(
        self,
        equation: str,
        meaning: Blocks,
        arrays: dict[str, jax.Array],
        bias: nnx.Param | None,
    ):
        self.equation = equation
        self.meaning = meaning
        self.blocks = parameter(arrays["blocks"], "x  ")
        self.kind = parameter(arrays["kind"], "x") if "kind" in arrays else None
        self.bias = bias

    @property
    def stacked(self) -> int:
        """The number of experts."""
        return self.blocks.shape[0]

    def one(self, i: jax.Array | int) -> jax.Array:
        """The kernel of an expert, float32 [in, out]."""
        kind = None if self.kind is None else self.kind[...][i]
        return floats(self.meaning, self.blocks[...][i], kind).T

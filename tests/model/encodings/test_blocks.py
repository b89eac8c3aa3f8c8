"""Blocks of GGUF files: what they mean is what the gguf package says, to the bit."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quants
from support.gguf_files import coded

from jaxmap.model.encodings.blocks import floats
from jaxmap.model.encodings.codes import BLOCK_TYPES, FLOAT_KINDS, KINDS, Blocks

SHAPE = (6, 512)


def stored(kind: str, seed: int) -> np.ndarray:
    """A matrix in blocks, uint8 [O, bytes]: random codes, and some scales that are tiny."""
    w = np.random.default_rng(seed).standard_normal(SHAPE).astype(np.float32)
    if kind == "F32":
        return w.view(np.uint8)
    blocks = coded(w, kind)
    rows = np.ascontiguousarray(blocks).view(np.uint8).reshape(SHAPE[0], -1)
    each = rows.reshape(-1, BLOCK_TYPES[kind].num_bytes)
    for at in BLOCK_TYPES[kind].halves:
        each[0, at : at + 2] = np.float16(3e-7).view("(2,)u1")  # subnormal
        each[1, at : at + 2] = np.float16(-0.5).view("(2,)u1")
    if kind == "MXFP4":
        each[:3, 0] = 2, 3, 252  # powers of two as small and as large as float32 has them
    return rows


def decoded(kind: str, rows: np.ndarray) -> np.ndarray:
    if kind in ("F32", "F16"):
        return rows.view(f"float{kind[1:]}").astype(np.float32)
    return quants.dequantize(rows, GGMLQuantizationType[kind]).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
def test_each_type_is_what_the_package_decodes(kind):
    sizes = BLOCK_TYPES[kind].numbers, BLOCK_TYPES[kind].num_bytes
    assert tuple(map(int, GGML_QUANT_SIZES[GGMLQuantizationType[kind]])) == sizes
    rows = stored(kind, 0)
    want = decoded(kind, rows)
    meaning = Blocks(SHAPE, (kind,))
    assert meaning.arrays["blocks"].shape == rows.shape
    found = jax.jit(lambda blocks: floats(meaning, blocks))(jnp.asarray(rows))
    assert np.ptp(want.astype(np.float64)) > 0
    np.testing.assert_array_equal(np.asarray(found), want)


def test_layers_of_several_types_are_one_array():
    kinds = ("Q4_K", "Q6_K", "Q4_0", "BF16")
    joined = Blocks.joined([Blocks(SHAPE, (kind,)) for kind in kinds])
    assert joined is not None
    held = [
        joined.in_memory({"blocks": stored(kind, i), "kind": np.asarray(KINDS.index(kind))})
        for i, kind in enumerate(kinds)
    ]
    blocks_L, kind_L = (jnp.asarray(np.stack([one[n] for one in held])) for n in ("blocks", "kind"))
    assert blocks_L.shape[1:] == joined.arrays["blocks"].shape == (6, 1024)

    def one(_, layer):
        return None, floats(joined, *layer)

    _, found = jax.lax.scan(one, None, (blocks_L, kind_L))
    for i, kind in enumerate(kinds):
        np.testing.assert_array_equal(np.asarray(found[i]), decoded(kind, stored(kind, i)))


def test_no_codes_among_floats_alone_or_other_shapes():
    assert Blocks.joined([Blocks(SHAPE, (kind,)) for kind in FLOAT_KINDS]) is None
    assert Blocks.joined([Blocks(SHAPE, ("Q8_0",)), Blocks((6, 256), ("Q8_0",))]) is None

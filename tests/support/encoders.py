"""Encoders of weights, written number by number from the formats' descriptions.

Each takes a float32 matrix [out, in] and gives the stored parts and, apart from any decoder of the
package, the float64 matrix that they stand for.
"""

from __future__ import annotations

import json

import ml_dtypes
import numpy as np

Parts = dict[str, np.ndarray]


def _into_words(numbers: list[int], bits: int) -> list[int]:
    """A long row of bits, lowest first, cut into words of 32; as signed numbers."""
    whole = 0
    for i, number in enumerate(numbers):
        whole |= int(number) << (i * bits)
    count = -(-len(numbers) * bits // 32)
    words = [(whole >> (32 * i)) & 0xFFFFFFFF for i in range(count)]
    return [word - (1 << 32) if word >= 1 << 31 else word for word in words]


def gptq(
    weight: np.ndarray,
    rng: np.random.Generator,
    *,
    bits: int,
    group: int,
    plus: int = 1,
    symmetric: bool = False,
    act_order: bool = False,
) -> tuple[Parts, np.ndarray]:
    outs, ins = weight.shape
    group = group if group > 0 else ins  # -1: one group
    groups = -(-ins // group)
    index = np.arange(ins) // group
    if act_order:
        index = rng.permutation(index)
    top = (1 << bits) - 1
    scales = np.empty((groups, outs), np.float16)
    zeros = np.empty((groups, outs), int)
    codes, exact = np.empty((ins, outs), int), np.empty((outs, ins))
    for g in range(groups):
        for o in range(outs):
            row = weight[o, index == g]
            scales[g, o] = max(np.abs(row).max() / (top / 2), 1e-4)
            zeros[g, o] = (top + 1) // 2 if symmetric else rng.integers(max(plus, 0), top + 1)
    for o in range(outs):
        for i in range(ins):
            s, z = float(scales[index[i], o]), zeros[index[i], o]
            code = min(max(round(weight[o, i] / s) + z, 0), top)
            codes[i, o], exact[o, i] = code, (code - z) * s
    qweight = np.array([_into_words(list(codes[:, o]), bits) for o in range(outs)], np.int32).T
    qzeros = np.array([_into_words(list(zeros[g] - plus), bits) for g in range(groups)], np.int32)
    parts = {"qweight": qweight.copy(), "qzeros": qzeros, "scales": scales}
    if act_order or rng.integers(2):
        parts["g_idx"] = index.astype(np.int32)
    return parts, exact


def awq(weight: np.ndarray, rng: np.random.Generator, *, group: int) -> tuple[Parts, np.ndarray]:
    outs, ins = weight.shape
    groups = ins // group
    scales = (np.abs(weight).max() / 7 * rng.uniform(0.5, 1, (groups, outs))).astype(np.float16)
    zeros, exact = rng.integers(0, 16, (groups, outs)), np.empty((outs, ins))
    codes = np.empty((ins, outs), int)
    for o in range(outs):
        for i in range(ins):
            s, z = float(scales[i // group, o]), zeros[i // group, o]
            codes[i, o] = min(max(round(weight[o, i] / s) + z, 0), 15)
            exact[o, i] = (codes[i, o] - z) * s
    order = [0, 2, 4, 6, 1, 3, 5, 7]

    def words(rows: np.ndarray) -> np.ndarray:
        packed = [
            [_into_words([row[8 * w + k] for k in order], 4)[0] for w in range(outs // 8)]
            for row in rows
        ]
        return np.array(packed, np.int32)

    return {"qweight": words(codes), "qzeros": words(zeros), "scales": scales}, exact


def fp8(
    weight: np.ndarray,
    rng: np.random.Generator,
    *,
    block: tuple[int, int] | None,
    e8m0: bool = False,
) -> tuple[Parts, np.ndarray]:
    """Blocks of a size; None: a scale a row."""
    outs, ins = weight.shape
    high, wide = block or (1, ins)
    grid = (-(-outs // high), -(-ins // wide))
    scales = rng.uniform(0.5, 2, grid) * np.abs(weight).max() / 200
    if e8m0:
        scales = 2.0 ** np.round(np.log2(scales))
    scales = scales.astype(ml_dtypes.float8_e8m0fnu if e8m0 else np.float32)
    codes = np.empty(weight.shape, ml_dtypes.float8_e4m3fn)
    exact = np.empty(weight.shape)
    for o in range(outs):
        for i in range(ins):
            s = float(scales[o // high, i // wide])
            codes[o, i] = ml_dtypes.float8_e4m3fn(weight[o, i] / s)
            exact[o, i] = float(codes[o, i]) * s
    return {"codes": codes, "scales": scales}, exact


def mxfp4(rng: np.random.Generator, shape: tuple[int, int, int]) -> tuple[Parts, np.ndarray]:
    """Of a tensor [experts, in, out], made of codes; E2M1 by its bits."""
    experts, ins, outs = shape
    codes = rng.integers(0, 16, (experts, outs, ins))
    scales = rng.integers(120, 128, (experts, outs, ins // 32)).astype(np.uint8)
    exact = np.empty(shape)
    for e, o, i in np.ndindex(codes.shape):
        code = int(codes[e, o, i])
        sign, exponent, mantissa = code >> 3, code >> 1 & 3, code & 1
        size = mantissa / 2 if exponent == 0 else (1 + mantissa / 2) * 2.0 ** (exponent - 1)
        exact[e, i, o] = (-1) ** sign * size * 2.0 ** (int(scales[e, o, i // 32]) - 127)
    blocks = np.zeros((experts, outs, ins // 32, 16), np.uint8)
    for e, o, i in np.ndindex(codes.shape):
        blocks[e, o, i // 32, i % 32 // 2] |= int(codes[e, o, i]) << (4 * (i % 2))
    return {"blocks": blocks, "scales": scales}, exact


def packed_numbers(
    weight: np.ndarray,
    rng: np.random.Generator,
    *,
    bits: int,
    groups: int,
    crossing: bool = True,
    zeros: bool = False,
    act_order: bool = False,
) -> tuple[Parts, np.ndarray]:
    """pack-quantized of compressed-tensors; `crossing`: numbers run over the borders of words."""
    outs, ins = weight.shape
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    index = np.arange(ins) // (ins // groups)
    if act_order:
        index = rng.permutation(index)
    scales = (np.abs(weight).max() / high * rng.uniform(0.5, 1, (outs, groups))).astype(np.float16)
    zero = rng.integers(low, high + 1, (outs, groups)) if zeros else np.zeros((outs, groups), int)
    codes, exact = np.empty((outs, ins), int), np.empty((outs, ins))
    for o in range(outs):
        for i in range(ins):
            s, z = float(scales[o, index[i]]), zero[o, index[i]]
            codes[o, i] = min(max(round(weight[o, i] / s) + z, low), high)
            exact[o, i] = (codes[o, i] - z) * s

    def words(row: np.ndarray) -> list[int]:
        numbers = [int(number) - low for number in row]
        if crossing:
            return _into_words(numbers, bits)
        each = 32 // bits
        return [_into_words(numbers[k : k + each], bits)[0] for k in range(0, len(numbers), each)]

    parts = {
        "weight_packed": np.array([words(row) for row in codes], np.int32),
        "weight_scale": scales,
        "weight_shape": np.array([outs, ins], np.int64),
    }
    if zeros:
        columns = [words(zero[:, g]) for g in range(groups)]
        parts["weight_zero_point"] = np.array(columns, np.int32).T.copy()
    if act_order:
        parts["weight_g_idx"] = index.astype(np.int32)
    return parts, exact


def whole_numbers(weight: np.ndarray, rng: np.random.Generator) -> tuple[Parts, np.ndarray]:
    """int-quantized of compressed-tensors: int8, a scale a row."""
    outs, ins = weight.shape
    scales = np.abs(weight).max(1, keepdims=True).astype(np.float32) / 100
    codes, exact = np.empty((outs, ins), np.int8), np.empty((outs, ins))
    for o in range(outs):
        for i in range(ins):
            codes[o, i] = round(weight[o, i] / float(scales[o, 0]))
            exact[o, i] = int(codes[o, i]) * float(scales[o, 0])
    return {"weight": codes, "weight_scale": scales}, exact


def nvfp4(
    weight: np.ndarray, rng: np.random.Generator, *, divided: bool
) -> tuple[Parts, np.ndarray]:
    """Groups of 16 with a scale each, and one of the tensor, divided by or multiplied with."""
    values = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    outs, ins = weight.shape
    whole = np.float32(rng.uniform(50, 90))
    scales = rng.uniform(1, 100, (outs, ins // 16)).astype(ml_dtypes.float8_e4m3fn)
    codes, exact = rng.integers(0, 16, (outs, ins)), np.empty((outs, ins))
    packed = np.zeros((outs, ins // 2), np.uint8)
    for o in range(outs):
        for i in range(ins):
            s = float(scales[o, i // 16])
            s = s / float(whole) if divided else s * float(whole)
            sign = -1 if codes[o, i] >= 8 else 1
            exact[o, i] = sign * values[codes[o, i] % 8] * s
            packed[o, i // 2] |= int(codes[o, i]) << (4 * (i % 2))
    names = ("weight_packed", "weight_global_scale") if divided else ("weight", "weight_scale_2")
    return {names[0]: packed, "weight_scale": scales, names[1]: np.array([whole])}, exact


def four_bit(
    weight: np.ndarray,
    rng: np.random.Generator,
    *,
    kind: str,
    block: int = 64,
    nested: bool = False,
) -> tuple[Parts, np.ndarray]:
    """bitsandbytes' 4 bit in float16: random codes, high half first, of the flat weight."""
    rows, columns = weight.shape
    table = (np.linspace(-1, 1, 16) ** 3).astype(np.float32)  # one for all, as in real files
    codes = rng.integers(0, 16, weight.size)
    count = -(-weight.size // block)
    scales = rng.uniform(0.2, 1, count).astype(np.float32)
    state = {"quant_type": kind, "blocksize": block, "dtype": "float16", "shape": [rows, columns]}
    parts: Parts = {"weight.absmax": scales}
    if nested:
        inner, offset = 4, 0.5
        each = rng.uniform(0.1, 0.4, -(-count // inner)).astype(np.float32)
        values = np.sort(rng.uniform(-1, 1, 256)).astype(np.float32)
        bytes_ = rng.integers(0, 256, count).astype(np.uint8)
        scales = np.array(
            [values[b] * each[i // inner] + np.float32(offset) for i, b in enumerate(bytes_)],
            np.float32,
        )
        state |= {"nested_blocksize": inner, "nested_offset": offset, "nested_dtype": "float32"}
        parts = {
            "weight.absmax": bytes_,
            "weight.nested_absmax": each,
            "weight.nested_quant_map": values,
        }
    exact = [float(np.float16(table[c] * scales[i // block])) for i, c in enumerate(codes)]
    packed = [int(codes[i]) << 4 | int(codes[i + 1]) for i in range(0, weight.size, 2)]
    name = f"weight.quant_state.bitsandbytes__{kind}"
    parts |= {
        "weight": np.array(packed, np.uint8)[:, None],
        "weight.quant_map": table,
        name: np.frombuffer(json.dumps(state).encode(), np.uint8),
    }
    return parts, np.array(exact).reshape(rows, columns)


def int8(weight: np.ndarray, rng: np.random.Generator) -> tuple[Parts, np.ndarray]:
    """bitsandbytes' 8 bit: the largest of a row, rounded to float16, is 127."""
    half = weight.astype(np.float16).astype(float)
    largest = np.abs(half).max(1)
    codes = np.round(half / largest[:, None] * 127).astype(np.int8)
    exact = codes.astype(float) * largest[:, None] / 127
    return {"weight": codes, "SCB": largest.astype(np.float32)}, exact

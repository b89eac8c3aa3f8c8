"""The precisions in which a model can be scored, in one table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from jaxmap.errors import InputError


@dataclasses.dataclass(frozen=True)
class Precision:
    """One choice.

    Fields:
      summary: a description for documents.
      activations: their dtype.
      weights: the dtype of matrices in memory; "": each as the checkpoint stores it, from
        which those of activations are made where they are multiplied, a layer at a time.
      passes: bfloat16 products that make up one of float32 numbers; 0: a product is done as it is,
        float32 as float32.
      floor: bits per byte that its rounding alone costs released models, for messages; "": too
        little to be told. docs/precision.md has the measurements.
    """

    summary: str
    activations: str
    weights: str
    passes: int = 0
    floor: str = ""


# bfloat16_3x is what jax.lax.DotAlgorithmPreset.BF16_BF16_F32_X3 stands for. Stored weights lose
# nothing: a float16 number is the sum of two bfloat16 numbers, and a bfloat16 one needs no second,
# nor a third pass.
PRECISIONS: dict[str, Precision] = {
    "float32": Precision("weights held as stored, float32 arithmetic", "float32", ""),
    "bfloat16": Precision(
        "weights and activations in bfloat16", "bfloat16", "bfloat16", floor="2e-4 to 4e-4"
    ),
    "float16": Precision("weights and activations in float16", "float16", "float16", floor="6e-6"),
    "bfloat16_3x": Precision(
        "weights held as stored, activations in float32, products in three bfloat16 passes",
        *("float32", "", 3),
    ),
}
REFERENCE = "float32"  # what the others are measured against
COMPARED = tuple(name for name in PRECISIONS if name != REFERENCE)


def default_dtype(backend: str, stored: str) -> str:
    """What "auto" means: float32 on CPU, as stored on GPU, bfloat16_3x on TPU.

    A TPU multiplies bfloat16 only. Rounding weights and activations to it costs 1e-5 to 1e-4
    bits/byte, 1 % of the smallest differences between neighbouring checkpoints or more; three
    passes cost 1e-10, and take half as many products as float32, which is six there.
    """
    return {"cpu": "float32", "tpu": "bfloat16_3x"}.get(backend, stored)


def check_precision(name: str, field: str, known: Iterable[str] = PRECISIONS) -> None:
    """InputError, naming the parameter and listing the known ones, unless it is a precision."""
    if name not in PRECISIONS:
        raise InputError(f"{name!r} is unknown; known: {', '.join(known)}", field=field)


def parse_precisions(names: list[str]) -> tuple[str, ...]:
    """These precisions, each once, without float32; InputError lists the known ones."""
    known = ", ".join(COMPARED)
    for name in names:
        check_precision(name, "dtypes", COMPARED)
    found = tuple(dict.fromkeys(name for name in names if name != REFERENCE))
    if not found:
        raise InputError(
            f"names nothing to compare with {REFERENCE}; known: {known}", field="dtypes"
        )
    return found

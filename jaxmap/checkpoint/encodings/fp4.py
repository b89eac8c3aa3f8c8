"""4-bit floats in groups of a row's inputs: NVFP4 and MXFP4.

NVFP4 has an 8-bit float as the scale of 16 weights; MXFP4 has a power of two for 32 weights. NVFP4
also has a scale for the whole tensor, by which compressed-tensors divides and ModelOpt multiplies.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from jaxmap.architectures.config import Config
from jaxmap.checkpoint.encodings.base import Arrays, Encoding, part, weight_of
from jaxmap.checkpoint.encodings.fp8 import FLOAT8, scaled
from jaxmap.checkpoint.encodings.mxfp4 import E2M1, halves
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.errors import InputError
from jaxmap.model.encodings.codes import Grouping
from jaxmap.model.encodings.dtypes import NUMBERS


def float4(
    module: str, tensors: Mapping[str, Stored], found: dict[str, Stored], *, divided: bool
) -> None:
    """Replaces the parts of a module's weight by the weight.

    Args:
      module: the name of the module.
      tensors: the tensors of the files.
      found: the tensors to change.
      divided: whether the tensor's own scale is a divisor, and parts are named as by
        compressed-tensors; otherwise it is a factor, and the names are ModelOpt's.
    """
    packed_name, whole_name = (
        ("weight_packed", "weight_global_scale") if divided else ("weight", "weight_scale_2")
    )
    weight, codes = f"{module}.weight", tensors[f"{module}.{packed_name}"]
    scale = part(tensors, f"{module}.weight_scale", weight, codes.file)
    parts = {"codes": codes, "scale": scale}
    if f"{module}.{whole_name}" in tensors:
        parts["whole"] = whole = tensors[f"{module}.{whole_name}"]
        if whole.shape not in ((), (1,), (1, 1)):
            raise InputError(
                f"{whole.file}: {module}.{whole_name} has shape {list(whole.shape)}: must be one "
                "number"
            )
        del found[f"{module}.{whole_name}"]
    if len(codes.shape) != 2 or codes.shape[1] < 1 or codes.dtype != np.uint8:
        raise InputError(f"{codes.file}: {module}.{packed_name} is not a matrix of uint8")
    outputs, inputs = codes.shape[0], codes.shape[1] * 2
    groups = scale.shape[-1] if len(scale.shape) == 2 else 0
    if scale.shape[:1] != (outputs,) or groups < 1 or inputs % groups:
        raise InputError(
            f"{scale.file}: {module}.weight_scale of {list(scale.shape)} does not fit {outputs} x "
            f"{inputs} weights"
        )
    for name in (packed_name, "weight_scale"):
        del found[f"{module}.{name}"]

    def scales_of(arrays: Arrays) -> np.ndarray:
        scales = arrays["scale"]
        if scales.dtype == np.uint8:
            scales = scales.view(NUMBERS["F8_E8M0"])
        scales = scales.astype(np.float32)
        if "whole" in arrays:
            whole = arrays["whole"].astype(np.float32).reshape(())
            scales = scales / whole if divided else scales * whole
        return scales

    def decode(arrays: Arrays) -> np.ndarray:
        values = halves(arrays["codes"]).reshape(outputs, groups, -1)
        values *= scales_of(arrays)[..., None]
        return values.reshape(outputs, inputs)

    found[weight] = weight_of(
        weight,
        parts,
        (outputs, inputs),
        decode,
        "4-bit float",
        meaning=Grouping((outputs, inputs), "uint4", groups, table=tuple(E2M1.tolist())),
        pack=lambda arrays: {"codes": arrays["codes"], "scale": scales_of(arrays)},
    )


class ModelOpt(Encoding):
    """NVIDIA's ModelOpt: FP8 with a scale per tensor, and NVFP4."""

    methods = ("modelopt", "modelopt_fp4")
    approximates = "activations in 8- or 4-bit floats"

    def __init__(self, facts: Config):
        super().__init__(facts)
        algorithm = facts.get("quant_algo")
        if algorithm not in ("FP8", "NVFP4", None):
            raise InputError(f"{facts.where}: quant_algo = {algorithm!r}; FP8 and NVFP4 are read")
        self.bits = {"FP8": 8, "NVFP4": 4}.get(algorithm)
        facts.inert(
            "config_groups", "exclude_modules", "group_size", "ignore", "kv_cache_quant_algo"
        )
        facts.inert("kv_cache_scheme", "producer", "quant_algo", "quant_method")

    @property
    def label(self) -> str:
        """The algorithm that quantization_config names, in lower case, such as "nvfp4"."""
        return str(self.facts.peek("quant_algo") or "modelopt").lower()

    def decoded(self, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
        """Replaces the codes and scales of each layer by its weight, [outputs, inputs]."""
        scales = (".input_scale", ".k_scale", ".v_scale", ".q_scale")
        found = {n: t for n, t in tensors.items() if not n.endswith(scales)}
        for name, stored in tensors.items():
            module, _, last = name.rpartition(".")
            if last == "weight" and stored.dtype == np.uint8:
                float4(module, tensors, found, divided=False)
            elif last == "weight" and stored.dtype in FLOAT8:
                scale = part(tensors, f"{module}.weight_scale", name, stored.file)
                del found[f"{module}.weight_scale"]
                found[name] = scaled(name, stored, f"{module}.weight_scale", scale)
        return found

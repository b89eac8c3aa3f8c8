"""GPTQ (Frantar et al. 2022, arXiv:2210.17323): codes of 2, 3, 4 or 8 bits, groups of inputs.

W = ((q - z) s)^T, where g_idx is the group, with its zero and scale, of each input. Version 1
stores z - 1, version 2 stores z. Symmetric 4-bit files with a wrong version are recognised by their
zeros, which are all 7 or all 8 (GPTQModel, utils/model_dequant.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
from absl import logging

from jaxmap.architectures.config import Config
from jaxmap.checkpoint.encodings.base import (
    Arrays,
    Encoding,
    check_shape,
    part,
    unpacked,
    weight_of,
)
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.errors import InputError
from jaxmap.model.encodings.codes import Grouping, packed_halves


class Gptq(Encoding):
    methods = ("gptq",)
    bits: int

    def __init__(self, facts: Config):
        super().__init__(facts)
        self.bits = facts["bits"]
        if self.bits not in (2, 3, 4, 8):
            raise InputError(f"{facts.where}: bits = {self.bits!r}; 2, 3, 4 and 8 are read")
        self.version = facts.get("checkpoint_format") or "gptq"
        if self.version not in ("gptq", "gptq_v2"):
            raise InputError(
                f"{facts.where}: checkpoint_format = {self.version!r}; gptq and gptq_v2 are read"
            )
        self.symmetric = facts.get("sym", True)
        facts.require("pack_dtype", ("int32", None), "int32")
        facts.require("dynamic", (None, {}), None)
        # How the codes were computed, and which kernels multiply them.
        facts.inert(
            *"""backend batch_size block_name_to_quantize cache_block_outputs checkpoint_format
            damp_percent dataset desc_act exllama_config format group_size is_marlin_format
            lm_head max_input_length meta model_file_base_name model_name_or_path
            model_seqlen modules_in_block_to_quantize module_name_preceding_first_block
            pad_token_id quant_method quantizer static_groups tokenizer true_sequential
            use_cuda_fp16 use_exllama""".split()
        )
        self._told = False

    @property
    def label(self) -> str:
        return f"gptq-{self.bits}bit"

    def decoded(self, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
        found = dict(tensors)
        for name, codes in tensors.items():
            if not name.endswith(".qweight"):
                continue
            module = name.removesuffix(".qweight")
            parts = {"qweight": codes}
            for one in ("qzeros", "scales"):
                own = f"{module}.{one}"
                parts[one] = part(tensors, own, f"{module}.weight", codes.file)
            if f"{module}.g_idx" in tensors:
                parts["g_idx"] = tensors[f"{module}.g_idx"]
            for one in parts:
                del found[f"{module}.{one}"]
            if len(codes.shape) != 2 or codes.dtype != np.int32:
                raise InputError(f"{codes.file}: {name} is not a matrix of int32")
            inputs, outputs = codes.shape[0] * 32 // self.bits, codes.shape[1]
            groups = parts["scales"].shape[0]
            check_shape(parts["scales"], f"{module}.scales", (groups, outputs))
            check_shape(parts["qzeros"], f"{module}.qzeros", (groups, outputs * self.bits // 32))
            if "g_idx" in parts:
                check_shape(parts["g_idx"], f"{module}.g_idx", (inputs,))
            elif groups < 1 or inputs % groups:
                raise InputError(f"{codes.file}: {module} has {inputs} inputs, {groups} groups")
            weight = f"{module}.weight"
            if weight in tensors:
                raise InputError(f"{codes.file}: contains both {name} and {weight}")
            meaning = Grouping(
                (outputs, inputs),
                "uint4" if self.bits <= 4 else "uint8",
                groups,
                scale=str(parts["scales"].dtype),
                zero=True,
                indexed=True,
            )
            where = f"{codes.file}: {weight}"
            found[weight] = weight_of(
                weight,
                parts,
                (outputs, inputs),
                partial(self._decode, name=where),
                "GPTQ",
                meaning=meaning if parts["scales"].is_float else None,
                pack=partial(self._packed, name=where),
            )
        return found

    def _parts(self, parts: Arrays, name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Codes uint8 [O, I], zeros int16 [O, groups], and the group of each input, [I]."""
        codes = parts["qweight"]
        groups, outputs = parts["scales"].shape
        q_OI = unpacked(codes.T, self.bits, codes.shape[0] * 32 // self.bits)
        inputs = q_OI.shape[1]
        zero_GO = unpacked(parts["qzeros"], self.bits, outputs)
        group_I = parts.get("g_idx", np.arange(inputs) // (inputs // groups))
        if group_I.min() < 0 or group_I.max() >= groups:
            raise InputError(f"{name}: g_idx names groups beyond the {groups} there are")
        return q_OI, (zero_GO.astype(np.int16) + self._plus(zero_GO, name)).T, group_I

    def _decode(self, parts: Arrays, name: str) -> np.ndarray:
        q_OI, zero_OG, group_I = self._parts(parts, name)
        weight = q_OI.astype(np.float32)
        weight -= zero_OG[:, group_I]
        weight *= parts["scales"].T.astype(np.float32)[:, group_I]
        return weight

    def _packed(self, parts: Arrays, name: str) -> dict[str, np.ndarray]:
        q_OI, zero_OG, group_I = self._parts(parts, name)
        codes = packed_halves(q_OI) if self.bits <= 4 else q_OI
        return {"codes": codes, "scale": parts["scales"].T, "zero": zero_OG, "index": group_I}

    def _plus(self, zero_GO: np.ndarray, name: str) -> int:
        """The number to add to the stored zeros."""
        plus = int(self.version == "gptq")
        middle = 1 << (self.bits - 1)
        if self.symmetric and (zero_GO == middle - plus).all():
            return plus
        if self.symmetric and (zero_GO == middle - 1 + plus).all():
            if not self._told:
                other = "gptq_v2" if plus else "gptq"
                logging.warning(
                    "%s: labelled %s, but its zeros are those of %s: read as that",
                    name,
                    self.version,
                    other,
                )
                self._told = True
            return 1 - plus
        return plus

"""GPTQ (Frantar et al. 2022, arXiv:2210.17323): codes of 2, 3, 4 or 8 bits, groups of inputs.

W = ((q - z) s)^T, where g_idx is the group, with its zero and scale, of each input. Version 1
stores z - 1, version 2 stores z. Symmetric 4-bit files with a wrong version are recognised by their
zeros, which are all 7 or all 8 (GPTQModel, utils/model_dequant.py). `dynamic` gives some modules
other settings, or leaves them as floats: the tensors of a module say how many bits its codes have,
so that its patterns need not be matched.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

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

# Settings of a module. Those that say how codes were computed change nothing here.
_DYNAMIC = frozenset(
    """act_group_aware bits damp_auto_increment damp_percent desc_act failsafe fallback gptaq
    group_size mse pack_dtype static_groups sym v2 v2_alpha""".split()
)


class Gptq(Encoding):
    """GPTQ as AutoGPTQ and GPTQModel write it: codes in int32, zero points and scales per group."""

    methods = ("gptq",)
    bits: int

    def __init__(self, facts: Config):
        super().__init__(facts)
        self.bits = facts["bits"]
        overrides = _overrides(facts)
        self._bits = {self.bits, *(one["bits"] for one in overrides if "bits" in one)}
        for bits in self._bits:
            if isinstance(bits, bool) or bits not in (2, 3, 4, 8):
                raise InputError(f"{facts.where}: bits = {bits!r}; 2, 3, 4 and 8 are read")
        names = [facts.get(key) for key in ("checkpoint_format", "format")]  # old and new spelling
        self.version = next(filter(None, names), "gptq")
        for key, name in zip(("checkpoint_format", "format"), names, strict=True):
            if name not in (None, "", "gptq", "gptq_v2"):
                raise InputError(f"{facts.where}: {key} = {name!r}; gptq and gptq_v2 are read")
        own = facts.get("sym", True)
        self.symmetric = own or any(one.get("sym") for one in overrides)
        sizes = [facts.get("group_size"), *(one.get("group_size") for one in overrides)]
        self._sizes = [size for size in sizes if type(size) is int and size > 0]
        facts.require("pack_dtype", ("int32", None), "int32")
        facts.require("is_marlin_format", (False, None), False)
        facts.require("rotation", (None, ""), None)
        facts.require("adapter", (None, {}), None)
        # How the codes were computed, and which kernels multiply them.
        facts.inert(
            *"""act_group_aware backend batch_size block_name_to_quantize cache_block_outputs
            damp_auto_increment damp_percent dataset desc_act exllama_config failsafe fallback foem
            gptaq hyb_act lm_head max_input_length meta method mock_quantization
            model_file_base_name model_name_or_path model_seqlen modules_in_block_to_quantize
            module_name_preceding_first_block mse offload_to_disk offload_to_disk_path
            pack_impl pad_token_id quant_method quantizer static_groups tokenizer true_sequential
            use_cuda_fp16 use_exllama v2 v2_alpha vram_strategy""".split()
        )
        self._told = False

    @property
    def label(self) -> str:
        """The name with the bits of a code, such as "gptq-4bit"."""
        return f"gptq-{self.bits}bit"

    def decoded(self, tensors: Mapping[str, Stored]) -> dict[str, Stored]:
        """Replaces the tensors of each quantised layer by its weight, [outputs, inputs]."""
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
            outputs = codes.shape[1]
            scales = parts["scales"]
            groups = scales.shape[0] if len(scales.shape) == 2 else 0
            check_shape(scales, f"{module}.scales", (groups, outputs))
            bits = self._bits_of(parts["qzeros"], outputs)
            check_shape(parts["qzeros"], f"{module}.qzeros", (groups, outputs * bits // 32))
            inputs = codes.shape[0] * 32 // bits
            if "g_idx" in parts:
                check_shape(parts["g_idx"], f"{module}.g_idx", (inputs,))
            elif groups < 1 or self._group_of(inputs, groups) is None:
                raise InputError(f"{codes.file}: {module} has {inputs} inputs, {groups} groups")
            weight = f"{module}.weight"
            if weight in tensors:
                raise InputError(f"{codes.file}: contains both {name} and {weight}")
            meaning = Grouping(
                (outputs, inputs),
                "uint4" if bits <= 4 else "uint8",
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
                partial(self._decode, name=where, bits=bits),
                "GPTQ",
                meaning=meaning if parts["scales"].is_float else None,
                pack=partial(self._packed, name=where, bits=bits),
            )
        return found

    def _bits_of(self, zeros: Stored, outputs: int) -> int:
        """The bits of a module's codes: those of config.json that fit its zeros."""
        for bits in sorted(self._bits, key=lambda bits: bits != self.bits):
            if len(zeros.shape) == 2 and zeros.shape[1] * 32 == outputs * bits:
                return bits
        return self.bits

    def _group_of(self, inputs: int, groups: int) -> np.ndarray | None:
        """The group of each input where no g_idx says it, [I]: the last one may be smaller.

        None if the inputs do not make that many groups.
        """
        for size in self._sizes:
            if -(-inputs // size) == groups:
                return np.arange(inputs) // size
        return None if inputs % groups else np.arange(inputs) // (inputs // groups)

    def _parts(
        self, parts: Arrays, name: str, bits: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Codes uint8 [O, I], zeros int16 [O, groups], and the group of each input, [I]."""
        codes = parts["qweight"]
        groups, outputs = parts["scales"].shape
        q_OI = unpacked(codes.T, bits, codes.shape[0] * 32 // bits)
        inputs = q_OI.shape[1]
        zero_GO = unpacked(parts["qzeros"], bits, outputs)
        group_I = parts["g_idx"] if "g_idx" in parts else self._group_of(inputs, groups)
        assert group_I is not None
        if group_I.min() < 0 or group_I.max() >= groups:
            raise InputError(f"{name}: g_idx names groups beyond the {groups} there are")
        return q_OI, (zero_GO.astype(np.int16) + self._plus(zero_GO, name, bits)).T, group_I

    def _decode(self, parts: Arrays, name: str, bits: int) -> np.ndarray:
        q_OI, zero_OG, group_I = self._parts(parts, name, bits)
        weight = q_OI.astype(np.float32)
        weight -= zero_OG[:, group_I]
        weight *= parts["scales"].T.astype(np.float32)[:, group_I]
        return weight

    def _packed(self, parts: Arrays, name: str, bits: int) -> dict[str, np.ndarray]:
        q_OI, zero_OG, group_I = self._parts(parts, name, bits)
        codes = packed_halves(q_OI) if bits <= 4 else q_OI
        return {"codes": codes, "scale": parts["scales"].T, "zero": zero_OG, "index": group_I}

    def _plus(self, zero_GO: np.ndarray, name: str, bits: int) -> int:
        """The number to add to the stored zeros."""
        plus = int(self.version == "gptq")
        middle = 1 << (bits - 1)
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


def _overrides(facts: Config) -> list[Mapping[str, Any]]:
    """The settings of `dynamic` for modules that are quantised otherwise.

    A key is a regular expression of module names, after "-:" for modules that are not quantised and
    perhaps after "+:" for others. Raises InputError for settings that are not understood.
    """
    dynamic = facts.get("dynamic") or {}
    if not isinstance(dynamic, dict):
        raise InputError(f"{facts.where}: dynamic = {dynamic!r:.60}: must name modules")
    found = []
    for pattern, settings in dynamic.items():
        if pattern.startswith("-:"):
            continue
        settings = settings or {}
        if unknown := sorted(set(settings) - _DYNAMIC):
            raise InputError(f"{facts.where}: dynamic: {pattern}: {unknown[0]} is not understood")
        if settings.get("pack_dtype") not in (None, "int32"):
            raise InputError(f"{facts.where}: dynamic: {pattern}: pack_dtype is not int32")
        found.append(settings)
    return found

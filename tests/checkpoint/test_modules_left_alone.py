"""Modules that a released copy leaves as floats, or stores otherwise than most, in every format.

The tensors of a module say which it is; lists and patterns of the settings, in each format's own
spelling, are no errors, and nothing is decoded twice or not at all.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support import encoders
from support.cases import experts
from support.checkpoints import make_checkpoint
from support.released import (
    CASES,
    GPTQ,
    change_config,
    groups_of,
    in_place_of_weight,
    released,
    save_any,
)

from jaxmap.checkpoint import weights
from jaxmap.errors import InputError
from jaxmap.model import decoder

LEFT = r"layers\.0\.mlp\.down_proj|layers\.1\.self_attn"
# Each format's spelling of them.
LISTS: dict[str, dict[str, Any]] = {
    "gptq": {"dynamic": {r"-:model\.layers\.0\.mlp\.down_proj": {}, r"-:.*\.1\.self_attn": {}}},
    "awq": {"modules_to_not_convert": ["layers.0.mlp.down_proj", "self_attn"]},
    "fp8-block": {"modules_to_not_convert": ["model.layers.0.mlp.down_proj", "lm_head"]},
    "fp8-row": {"ignored_layers": ["model.layers.0.mlp.down_proj", "model.layers.1.self_attn"]},
    "pack-quantized": {"ignore": ["re:.*layers.0.mlp.down_proj$", "re:.*1.self_attn.*", "lm_head"]},
    "int-quantized": {"ignore": ["model.layers.0.mlp.down_proj", "lm_head"]},
    "nvfp4": {"ignore": ["re:model.layers.0.mlp.down_proj", "re:.*self_attn.*"]},
    "modelopt": {"ignore": ["lm_head", "model.layers.0.mlp.down_proj", "*layers.1.self_attn*"]},
    "bnb-nf4": {"llm_int8_skip_modules": ["lm_head", "down_proj", "model.layers.1.self_attn"]},
    "bnb-int8": {"llm_int8_skip_modules": ["model.layers.0.mlp.down_proj"]},
}


def leaves(folder: Path, **how: Any) -> dict[str, np.ndarray]:
    params = weights.load(folder, dtype="float32", **how).params
    return {path: np.asarray(leaf[...]) for path, leaf in decoder.named(params).items()}


def same(coded: Path, plain: Path) -> None:
    ours, theirs = leaves(coded), leaves(plain)
    assert ours.keys() == theirs.keys()
    for path, want in theirs.items():
        np.testing.assert_allclose(ours[path], want, rtol=1e-6, atol=0, err_msg=path)


def left_alone(name: str) -> dict[str, Any] | None:
    return None if re.search(LEFT, name) else {}


@pytest.mark.parametrize("name", LISTS)
def test_modules_that_stay_floats(name, tmp_path):
    case = CASES[name]
    facts = {**case["facts"], **LISTS[name]}
    coded, plain = released(tmp_path, **{**case, "facts": facts}, other=left_alone)
    same(coded, plain)
    # Layers of which one is floats are floats on the device too, and others are not.
    with weights.opened(coded) as found:
        held = found.in_codes("float32")
        assert held is not None
        assert "model.layers.1.mlp.up_proj.weight" in held.names
        assert "model.layers.1.mlp.down_proj.weight" not in held.names


def test_gptq_of_several_numbers_of_bits(tmp_path):
    """`dynamic` changes the bits, the groups and the zeros of some modules."""

    def other(name: str) -> dict[str, Any] | None:
        if ".v_proj" in name:
            return {"bits": 8, "group": -1, "symmetric": True}
        if ".down_proj" in name:
            return {"bits": 2, "group": 16}
        return None if ".o_proj" in name else {}

    dynamic = {
        r"+:.*\.v_proj": {"bits": 8, "group_size": -1, "sym": True, "desc_act": True},
        r".*\.down_proj": {"bits": 2, "group_size": 16},
        r"-:.*\.o_proj": {},
    }
    coded, plain = released(
        tmp_path,
        encoders.gptq,
        in_place_of_weight,
        {**GPTQ, "bits": 4, "dynamic": dynamic},
        other=other,
        **dict(bits=4, group=32, act_order=True),
    )
    same(coded, plain)
    for bad, message in (
        ({"x": {"bits": 5}}, "bits = 5; 2, 3, 4 and 8"),
        ({"x": {"new_rule": 1}}, "dynamic: x: new_rule is not understood"),
        ({"x": {"pack_dtype": "int16"}}, "dynamic: x: pack_dtype is not int32"),
        ([1], "must name modules"),
    ):
        change_config(coded, quantization_config={**GPTQ, "bits": 4, "dynamic": bad})
        with pytest.raises(InputError, match=message):
            weights.load(coded)


@pytest.mark.parametrize(("bits", "group"), [(3, -1), (3, 40), (2, -1), (4, 40), (8, -1)])
def test_gptq_of_one_group_and_of_groups_that_do_not_divide(bits, group, tmp_path):
    """In the order of activations; without g_idx the settings say where a group ends."""
    facts = {**GPTQ, "bits": bits, "group_size": group, "desc_act": True}
    coded, plain = released(
        tmp_path,
        encoders.gptq,
        in_place_of_weight,
        facts,
        **dict(bits=bits, group=group, act_order=bits == 3),
    )
    with weights.open_tensors(coded) as found:
        tensors = {name: one.read() for name, one in found.items()}
    assert any(name.endswith("g_idx") for name in tensors)
    if bits != 3:
        kept = {name: one for name, one in tensors.items() if not name.endswith("g_idx")}
        save_any(kept, coded / "model.safetensors")
    same(coded, plain)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({"format": "marlin"}, "format = 'marlin'; gptq and gptq_v2 are read"),
        ({"is_marlin_format": True}, "is_marlin_format = True is not supported"),
        ({"rotation": "hadamard"}, "rotation = 'hadamard' is not supported"),
        ({"adapter": {"name": "lora"}}, "adapter = .* is not supported"),
    ],
)
def test_gptq_that_is_not_read(facts, message, tmp_path):
    coded, _ = released(tmp_path, **CASES["gptq"])
    change_config(coded, quantization_config={**GPTQ, "bits": 4, **facts})
    with pytest.raises(InputError, match=message):
        weights.load(coded)


def test_the_newer_spelling_of_the_version(tmp_path):
    facts = {**GPTQ, "bits": 4, "format": "gptq_v2", "method": "gptq"}
    coded, plain = released(
        tmp_path, encoders.gptq, in_place_of_weight, facts, bits=4, group=32, plus=0
    )
    same(coded, plain)


def test_groups_of_several_numbers_of_bits(tmp_path):
    """compressed-tensors: two groups, whose targets are a class and a pattern."""
    facts = groups_of(4)
    eight = {"num_bits": 8, "type": "int", "strategy": "group", "symmetric": True}
    facts["config_groups"]["group_1"] = {"targets": ["re:.*down_proj$"], "weights": eight}
    coded, plain = released(
        tmp_path,
        encoders.packed_numbers,
        in_place_of_weight,
        facts,
        other=lambda name: {"bits": 8} if ".down_proj" in name else {},
        **dict(bits=4, groups=4),
    )
    same(coded, plain)


@pytest.mark.parametrize("divided", [True, False])
def test_a_group_whose_scale_is_zero(divided, tmp_path):
    """Its weights are zeros, and are no reason to refuse a file."""
    name = "nvfp4" if divided else "modelopt"
    coded, plain = released(tmp_path, **CASES[name])
    with weights.open_tensors(coded) as found:
        tensors = {name: one.read() for name, one in found.items()}
    module = "model.layers.1.mlp.up_proj"
    tensors[f"{module}.weight_scale"][3, 2] = 0
    save_any(tensors, coded / "model.safetensors")
    floats = load_file(plain / "model.safetensors")
    floats[f"{module}.weight"][3, 32:48] = 0
    save_file(floats, plain / "model.safetensors")
    same(coded, plain)
    with weights.opened(coded) as found:
        assert not found.tensors[f"{module}.weight"].read()[3, 32:48].any()
    leaves(coded, in_codes=True)


def test_experts_of_some_layers_in_mxfp4(tmp_path):
    """gpt-oss: what the list names is floats; of the rest a layer may be floats too."""
    sizes = dict(hidden_size=64, intermediate_size=32)
    plain = make_checkpoint(tmp_path / "plain", experts.CASES["gpt_oss"], **sizes)
    coded = make_checkpoint(tmp_path / "coded", experts.CASES["gpt_oss"], **sizes)
    rng, tensors = np.random.default_rng(3), load_file(plain / "model.safetensors")
    stored = dict(tensors)
    ends = (".1.mlp.experts.gate_up_proj", ".1.mlp.experts.down_proj")
    for name in [name for name in tensors if name.endswith(ends)]:
        parts, exact = encoders.mxfp4(rng, stored.pop(name).shape)
        tensors[name] = exact.astype(np.float32)
        stored |= {f"{name}_{part}": value for part, value in parts.items()}
    save_file(tensors, plain / "model.safetensors")
    save_any(stored, coded / "model.safetensors")
    left = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens",
            "lm_head", "model.layers.0.mlp.experts"]  # fmt: skip
    facts = {"quant_method": "mxfp4", "modules_to_not_convert": left}
    change_config(coded, quantization_config=facts)
    same(coded, plain)

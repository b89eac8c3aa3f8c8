"""The types of support/cases/newer.py against Hugging Face PyTorch.

The first case of each type is compared at every layer too. The types that bring a mechanism of
their own run by default; those that put together what others have tested, and the cases that turn
further keys of config.json, are slow.
"""

from __future__ import annotations

# First: it must be set up before torch is imported.
from support.quantised_parity import check_4_bit_copy  # isort: skip

import json

import numpy as np
import pytest
from support.cases.newer import CASES
from support.parity import check_parity
from support.reference import make_model

from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.checkpoint import weights
from jaxmap.errors import InputError
from jaxmap.model.decoder import named

_DEFAULT = {
    "apertus", "bitnet", "doge", "hunyuan_v1_moe", "jetmoe", "kimi_linear", "lfm2_moe",
    "llama4_text", "longcat_flash", "minimax", "ministral3",
}  # fmt: skip
_PARAMETERS = [
    pytest.param(name, marks=() if name in _DEFAULT else pytest.mark.slow) for name in CASES
]


@pytest.mark.parametrize("name", _PARAMETERS)
def test_logits_and_scores(name, tmp_path):
    check_parity(CASES[name], tmp_path)


def test_every_form_of_longcat_files(tmp_path):
    """transformers saves projections of identity experts too; released files have none."""
    from safetensors.numpy import load_file, save_file

    config = CASES["longcat_flash"]
    reference = make_model(config, tmp_path)
    reference.save_pretrained(tmp_path / "joined", save_original_format=False)
    released = tmp_path / "released"
    released.mkdir()
    tensors = load_file(tmp_path / "model.safetensors")
    assert "model.layers.0.mlp.experts.7.gate_proj.weight" in tensors
    tensors = {
        name: value
        for name, value in tensors.items()
        if not any(f".experts.{e}." in name for e in (5, 6, 7))
    }
    tensors["model.mtp.layers.0.eh_proj.weight"] = np.ones((2, 2), np.float32)
    save_file(tensors, released / "model.safetensors")
    keys = json.loads((tmp_path / "config.json").read_text())
    theta = keys.pop("rope_parameters")["rope_theta"]
    for key in ("head_dim", "qk_head_dim"):
        del keys[key]
    keys |= dict(
        rope_theta=theta,
        attention_method="MLA",
        mla_scale_q_lora=True,
        mla_scale_kv_lora=True,
        zero_expert_type="identity",
        router_bias=False,
    )
    (released / "config.json").write_text(json.dumps(keys))
    own = weights.load(tmp_path, dtype="float32")
    for folder in (tmp_path / "joined", released):
        other = weights.load(folder, dtype="float32")
        assert other.spec == own.spec
        wanted = named(own.params)
        for path, leaf in named(other.params).items():
            np.testing.assert_array_equal(leaf[...], wanted[path][...], err_msg=path)
    # An identity expert has no down projection, so a file with one has other experts.
    tensors["model.layers.0.mlp.experts.5.down_proj.weight"] = np.ones((40, 20), np.float32)
    save_file(tensors, released / "model.safetensors")
    with pytest.raises(InputError, match=r"nothing claims: .*experts\.5\.down_proj"):
        weights.load(released, dtype="float32")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("zero_expert_type", "drop"),
        ("router_bias", True),
        ("norm_topk_prob", True),
        ("mla_scale_q_lora", False),
        ("num_hidden_layers", 5),
        ("head_dim", 10),
    ],
)
def test_what_longcat_refuses(key, value):
    config = {**CASES["longcat_flash"], key: value}
    with pytest.raises(InputError, match=f"{key} = {value}|{key} = '{value}'"):
        spec_of(Config(config, "config.json"))


@pytest.mark.slow
def test_4_bit_copy_of_longcat(tmp_path):
    check_4_bit_copy(CASES["longcat_flash"], tmp_path)

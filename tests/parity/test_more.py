"""The types of support/cases/more.py against Hugging Face PyTorch, the first case at every layer.

The types that bring a mechanism of their own run by default; those that put together what others
have tested, and the cases that turn further keys of config.json, are slow.
"""

from __future__ import annotations

# First: it must be set up before torch is imported.
from support.quantised_parity import check_4_bit_copy  # isort: skip

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.cases.more import CASES
from support.parity import check_parity
from support.reference import make_model

from jaxmap.checkpoint import weights
from jaxmap.model.decoder import named

_DEFAULT = {
    "cohere2_moe",
    "ctrl",
    "dbrx",
    "gpt_neox_japanese",
    "modernbert-decoder",
    "olmo_hybrid",
    "openai-gpt",
}
_PARAMETERS = [
    pytest.param(name, marks=() if name in _DEFAULT else pytest.mark.slow) for name in CASES
]


@pytest.mark.parametrize("name", _PARAMETERS)
def test_logits_and_scores(name, tmp_path):
    check_parity(CASES[name], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["afmoe", "aria_text", "flint", "lara_mini"])
def test_4_bit_copy(name, tmp_path):
    check_4_bit_copy(CASES[name], tmp_path)


def test_both_forms_of_lara_mini_files(tmp_path):
    """The projections of the delta rule are one tensor in released files, four in transformers."""
    reference = make_model(CASES["lara_mini"], tmp_path)
    reference.save_pretrained(tmp_path / "apart", save_original_format=False)
    own, other = (weights.load(f, dtype="float32") for f in (tmp_path, tmp_path / "apart"))
    assert own.spec == other.spec
    wanted = named(own.params)
    for path, leaf in named(other.params).items():
        np.testing.assert_array_equal(leaf[...], wanted[path][...], err_msg=path)
    names = {f: set(load_file(f / "model.safetensors")) for f in (tmp_path, tmp_path / "apart")}
    assert "model.layers.0.linear_attn.in_proj.weight" in names[tmp_path]
    assert "model.layers.0.linear_attn.in_proj_qkv.weight" in names[tmp_path / "apart"]

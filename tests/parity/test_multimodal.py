"""Language models inside multimodal checkpoints against Hugging Face PyTorch's, given text alone.

One case of each way in which they are stored runs by default, the other types are slow.
"""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.cases.multimodal import CASES
from support.parity import check_parity, compare
from support.reference import make_model

_DEFAULT = {"mistral3", "qwen2_5_vl", "qwen3_vl_moe"}
_PARAMETERS = [
    pytest.param(name, marks=() if name in _DEFAULT else pytest.mark.slow) for name in CASES
]


@pytest.mark.parametrize("name", _PARAMETERS)
def test_logits_and_scores(name, tmp_path):
    check_parity(CASES[name], tmp_path)


def test_experts_with_inputs_first(tmp_path):
    """As Qwen3-VL's files have them; transformers 5 saves them the other way round."""
    reference = make_model(CASES["qwen3_vl_moe"], tmp_path)
    file = tmp_path / "model.safetensors"
    turned = {
        name: np.ascontiguousarray(tensor.swapaxes(1, 2)) if ".experts." in name else tensor
        for name, tensor in load_file(file).items()
    }
    save_file(turned, file, metadata={"format": "pt"})
    compare(reference, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("inside", ["model.language_model.", "model.text_model.", "model."])
def test_every_name_of_a_tensor(inside, tmp_path):
    """mistral3 saves `language_model.model.`; other libraries and versions have other names."""
    reference = make_model(CASES["mistral3"], tmp_path)
    file = tmp_path / "model.safetensors"
    tensors = {
        name.replace("language_model.model.", inside).removeprefix("language_model."): tensor
        for name, tensor in load_file(file).items()
    }
    assert any(name.startswith(f"{inside}layers.0.") for name in tensors)
    save_file(tensors, file, metadata={"format": "pt"})
    compare(reference, tmp_path)

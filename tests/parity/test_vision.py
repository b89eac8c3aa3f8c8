"""The types of support/cases/vision.py against Hugging Face PyTorch's, given text alone.

Those that bring a mechanism or names of tensors of their own run by default, the others are slow.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from support.cases.vision import CASES
from support.parity import check_parity, compare
from support.reference import make_model, save_config

from jaxmap.checkpoint import weights
from jaxmap.model.decoder import named

_DEFAULT = {"mllama", "mistral4", "ernie4_5_vl_moe", "molmo2", "git", "kosmos-2", "muse_glimmer"}
_PARAMETERS = [
    pytest.param(name, marks=() if name in _DEFAULT else pytest.mark.slow) for name in CASES
]


@pytest.mark.parametrize("name", _PARAMETERS)
def test_logits_and_scores(name, tmp_path):
    check_parity(CASES[name], tmp_path)


def rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]) -> None:
    """Stores what `change` makes of the tensors of a checkpoint in their place."""
    file = folder / "model.safetensors"
    tensors = {name: np.ascontiguousarray(x) for name, x in change(load_file(file)).items()}
    save_file(tensors, file, metadata={"format": "pt"})


_SLOW_FORMS = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("emu3", "ernie4_5_vl_moe", "glm4v", "hunyuan_vl", "mllama", "paddleocr_vl")
]


@pytest.mark.parametrize("name", ["molmo2", *_SLOW_FORMS])
def test_the_names_of_transformers(name, tmp_path):
    """Files that keep the names of its modules instead of those of released files."""
    reference = make_model(CASES[name], tmp_path)
    reference.save_pretrained(tmp_path / "own", save_original_format=False)
    released, own = (weights.load(tmp_path / where, dtype="float32") for where in ("", "own"))
    assert own.spec == released.spec
    wanted = named(released.params)
    for path, leaf in named(own.params).items():
        np.testing.assert_array_equal(leaf[...], wanted[path][...], err_msg=path)


@pytest.mark.slow
def test_adapters_in_the_tensors_of_phi4(tmp_path):
    """Microsoft's own files have them there and call the type phi4mm."""
    reference = make_model(CASES["phi4_multimodal"], tmp_path)

    def with_adapters(tensors):
        changed = {}
        for name, value in tensors.items():
            if name.endswith("_proj.weight") and name.startswith("model.layers."):
                stem = name.removesuffix(".weight")
                changed[f"{stem}.base_layer.weight"] = value
                for kind in ("speech", "vision"):
                    for part in "AB":
                        changed[f"{stem}.lora_{part}.{kind}.weight"] = np.ones((2, 2), np.float32)
            else:
                changed[name] = value
        return changed

    rewrite(tmp_path, with_adapters)
    keys = json.loads((tmp_path / "config.json").read_text())
    for key in ("vision_config", "audio_config"):
        del keys[key]
    keys |= dict(
        model_type="phi4mm",
        audio_processor={"name": "cascades"},
        embd_layer={"embedding_cls": "image_audio"},
        img_processor=None,
        speech_lora={"r": 2},
        vision_lora={"r": 2},
    )
    save_config(keys, tmp_path)
    compare(reference, tmp_path, lens=True)

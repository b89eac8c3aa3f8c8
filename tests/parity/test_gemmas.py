"""Gemma 3n and Gemma 4 against Hugging Face PyTorch, at every layer too."""

from __future__ import annotations

# First: it must be set up before torch is imported.
from support import quantised_reference  # isort: skip
from support.quantised_parity import check_4_bit_copy, check_8_bit_copy  # isort: skip

import pytest
from support.cases.gemmas import CASES
from support.checkpoints import make_checkpoint
from support.parity import check_parity

from jaxmap.checkpoint import weights
from jaxmap.engine.layer_by_layer import LayerByLayer
from jaxmap.errors import InputError

_DEFAULT = {"gemma3n_text", "gemma4_text-experts"}
_PARAMETERS = [
    pytest.param(name, marks=() if name in _DEFAULT else pytest.mark.slow) for name in CASES
]


@pytest.mark.parametrize("name", _PARAMETERS)
def test_logits_and_scores(name, tmp_path):
    check_parity(CASES[name], tmp_path, lens=name.startswith("gemma4"))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gemma4_text", "gemma4_text-experts"])
def test_copies_of_gemma_4(name, tmp_path):
    check_4_bit_copy(CASES[name], tmp_path / "nf4")
    few = dict(
        num_hidden_layers=3,
        layer_types=["sliding_attention", "full_attention", "full_attention"],
        num_kv_shared_layers=1,
    )
    check_8_bit_copy({**CASES[name], **few}, tmp_path / "int8")


@pytest.mark.slow
def test_4_bit_copy(tmp_path, monkeypatch):
    # transformers leaves a model's last parameter out, whatever it is; here a stream's projection,
    # which in the files of the multimodal model is not the last.
    monkeypatch.setattr(quantised_reference, "get_keys_to_not_convert", lambda model: ["lm_head"])
    check_4_bit_copy(CASES["gemma3n_text"], tmp_path)


def test_layers_that_share_keys_are_not_read_one_at_a_time(tmp_path):
    folder = make_checkpoint(tmp_path, CASES["gemma3n_text"])
    with weights.opened(folder) as found, pytest.raises(InputError, match="layer by layer"):
        LayerByLayer(found, "float32")

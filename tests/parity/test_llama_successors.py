"""The Llama line's successors against Hugging Face PyTorch or, for remote code, the oracle."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.torch import save_file
from support.cases import remote
from support.cases.llama_successors import CASES
from support.oracle import Oracle, random_weights
from support.parity import check_parity, compare, first_of_its_type, random_texts
from support.reference import save_config


@pytest.mark.parametrize("name", CASES)
def test_logits_and_scores(name, tmp_path):
    check_parity(CASES[name], tmp_path)


@pytest.mark.parametrize("name", ["gemma2", "gemma3_text", "phi3-longrope", "cohere2", "olmo3"])
def test_long_text(name, tmp_path):
    """733 tokens: where a small error of an angle or a window shows."""
    ids = np.random.default_rng(3).integers(0, 97, 733).astype(np.int32)
    check_parity({**CASES[name], "max_position_embeddings": 1024}, tmp_path, texts=[ids])


@pytest.mark.parametrize("name", remote.CASES)
def test_remote_code_types(name, tmp_path):
    case = remote.CASES[name]
    weights = random_weights(case.facts)
    save_file(case.stored(weights), tmp_path / "model.safetensors")
    save_config(case.config, tmp_path)
    # A real vocabulary is slow, so fewer texts.
    texts = random_texts() if case.facts.V == 97 else random_texts()[:4]
    lens = first_of_its_type(case.config)
    compare(Oracle(case.facts, weights), tmp_path, texts=texts, lens=lens)

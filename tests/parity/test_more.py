"""The types of support/cases/more.py against Hugging Face PyTorch, the first case at every layer.

The types that bring a mechanism of their own run by default; those that put together what others
have tested, and the cases that turn further keys of config.json, are slow.
"""

from __future__ import annotations

import pytest
from support.cases.more import CASES
from support.parity import check_parity

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

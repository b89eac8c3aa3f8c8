"""The types of support/cases/newer.py against Hugging Face PyTorch.

The first case of each type is compared at every layer too. The types that bring a mechanism of
their own run by default; those that put together what others have tested, and the cases that turn
further keys of config.json, are slow.
"""

from __future__ import annotations

import pytest
from support.cases.newer import CASES
from support.parity import check_parity

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

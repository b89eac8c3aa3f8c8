"""Gemma 3n against Hugging Face PyTorch, at every layer too."""

from __future__ import annotations

import pytest
from support.cases.gemmas import CASES
from support.parity import check_parity

_PARAMETERS = [
    pytest.param(name, marks=pytest.mark.slow if "-" in name else ()) for name in CASES
]


@pytest.mark.parametrize("name", _PARAMETERS)
def test_logits_and_scores(name, tmp_path):
    check_parity(CASES[name], tmp_path)

"""The Llama line's successors against Hugging Face PyTorch; see parity.py."""

from __future__ import annotations

import pytest
from families_modern import CASES
from parity import check_parity


@pytest.mark.parametrize("name", CASES)
def test_logits_and_scores(name, tmp_path):
    check_parity(CASES[name], tmp_path)

"""The types of support/cases/newer.py against Hugging Face PyTorch.

The first case of each type is compared at every layer too and runs by default; those that follow,
with other keys of config.json, are slow.
"""

from __future__ import annotations

import pytest
from support.cases.newer import CASES
from support.parity import check_parity, first_of_its_type

_PARAMETERS = [
    pytest.param(name, marks=() if first_of_its_type(case) else pytest.mark.slow)
    for name, case in CASES.items()
]


@pytest.mark.parametrize("name", _PARAMETERS)
def test_logits_and_scores(name, tmp_path):
    check_parity(CASES[name], tmp_path)

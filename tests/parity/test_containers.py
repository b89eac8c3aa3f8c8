"""Language models beside pictures or sound against Hugging Face PyTorch's, given text alone.

Their pages differ in names and defaults only, so the parts that encode pictures and sound are one
small layer here, and one type runs by default.
"""

from __future__ import annotations

import pytest
from support.containers import cases
from support.parity import NATS, compare
from support.reference import make_model

_CASES = cases()
_BOUND = {"minicpm": 5e-3}  # nats; a state carries the roundings of all tokens


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=() if k == "voxtral" else pytest.mark.slow) for k in _CASES],
)
def test_logits_and_scores(kind, tmp_path):
    reference = make_model(_CASES[kind], tmp_path, towers=kind == "qwen2_audio")
    bound = next((nats for start, nats in _BOUND.items() if kind.startswith(start)), NATS)
    compare(reference, tmp_path, nats_bound=bound)

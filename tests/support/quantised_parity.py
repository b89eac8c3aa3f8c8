"""Compares quantised copies with PyTorch's; imported before anything that imports torch."""

from __future__ import annotations

# First: it must be set up before torch is imported.
from support import quantised_reference  # isort: skip

from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.quantize import quantised
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens
from support.parity import random_texts
from support.reference import make_model, text_logp
from support.token_sets import make_tokens


def check_8_bit_copy(config: dict[str, Any], folder: Path) -> None:
    """An int8 copy scores texts of two tokens as LLM.int8() in PyTorch does.

    Rounding in float32 takes an activation from one code to the next now and then, which moves a
    text by a part of what 8 bit does to it; with every layer and token it does so more often.
    """
    reference = make_model(config, folder)
    model = weights.load(folder, dtype="float32")
    random = np.random.default_rng(7)
    texts = [random.integers(0, 97, 2).astype(np.int32) for _ in range(40)]
    tokens = make_tokens(texts)
    copy = quantised(model, "int8")
    own_N, copy_N = (score_tokens(Scorers().of(one), one, tokens) for one in (model, copy))
    theirs = quantised_reference.quantise(reference, "int8")
    difference_N = np.abs(copy_N - [text_logp(theirs, ids) for ids in texts])
    moved_N = np.abs(copy_N - own_N)
    assert np.median(difference_N) < 0.15 * np.median(moved_N)
    assert np.median(moved_N) > 5e-3


def check_4_bit_copy(config: dict[str, Any], folder: Path) -> None:
    """An nf4 copy scores texts as PyTorch's does, and otherwise than the model itself."""
    reference = make_model(config, folder)
    model = weights.load(folder, dtype="float32")
    texts = random_texts()[2:7]
    tokens = make_tokens(texts)
    copy = quantised(model, "nf4")
    own_N, copy_N = (score_tokens(Scorers().of(one), one, tokens) for one in (model, copy))
    theirs = quantised_reference.quantise(reference, "nf4")
    theirs_N = [text_logp(theirs, ids) for ids in texts]
    np.testing.assert_allclose(copy_N, theirs_N, rtol=0, atol=5e-3)
    assert np.abs(copy_N - own_N).max() > 1

"""Recurrent mixers in 8 and 4 bit, against bitsandbytes."""

from __future__ import annotations

# First: it must be set up before torch is imported.
from support import quantised_reference  # isort: skip

import numpy as np
import pytest
from support.cases.recurrent import CASES
from support.parity import random_texts
from support.reference import make_model, text_logp
from support.token_sets import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.quantize import quantised
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens

NATS = 5e-3


def _scores(model, texts) -> np.ndarray:
    return score_tokens(Scorers().of(model), model, make_tokens(texts), batch_tokens=512)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "variant"),
    [
        ("rwkv-rescaled", "nf4"),
        ("recurrent_gemma", "nf4"),
        ("qwen3_next", "fp4"),
        ("rwkv", "int8"),
    ],
)
def test_scores(name, variant, tmp_path):
    texts = random_texts()[2:7]
    reference = make_model(CASES[name], tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    theirs = quantised_reference.quantise(reference, variant)
    ours_N = _scores(quantised(model, variant), texts)
    theirs_N = np.array([text_logp(theirs, ids) for ids in texts])
    moved = np.abs(ours_N - _scores(model, texts)).max()
    assert moved > 20 * NATS
    near_N = np.abs(ours_N - theirs_N) < NATS
    if variant == "int8":
        # Where rounding takes one activation over the edge between two codes, a text moves by a
        # part of what quantisation does to it.
        assert near_N.mean() >= 0.6
        assert np.abs(ours_N - theirs_N).max() < moved
    else:
        assert near_N.all()

"""Against Hugging Face PyTorch (sdpa attention, float32), every parameter random."""

from __future__ import annotations

import numpy as np
import pytest
from support.cases.core import CASES
from support.parity import NATS, check_parity, random_texts
from support.reference import make_model, text_logp
from support.token_sets import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens


def _forget_lengths(reference):
    """The reference keeps dynamic NTK's frequencies from longer texts for later ones."""
    reference.model.rotary_emb.__init__(reference.config)


@pytest.mark.parametrize("name", CASES)
def test_logits_and_scores(name, tmp_path):
    reset = {"before_each": _forget_lengths} if "dynamic" in name else {}
    check_parity(CASES[name], tmp_path, **reset)


@pytest.mark.parametrize("name", ["gpt_neox", "gpt2", "llama-rope-dynamic", "qwen2-windows"])
def test_long_text(name, tmp_path):
    """733 tokens: where a small error of an angle or a window shows."""
    context = {
        "gpt2": {"n_positions": 1024},
        "llama-rope-dynamic": {"max_position_embeddings": 200},
    }
    config = {**CASES[name], **context.get(name, {"max_position_embeddings": 1024})}
    ids = np.random.default_rng(3).integers(0, 97, 733).astype(np.int32)
    check_parity(config, tmp_path, texts=[ids])


@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_weights_at_float32(name, dtype, tmp_path):
    """Weights stored in 16 bits are exact at float32, so the score is as near as ever."""
    texts = random_texts()
    reference = make_model(CASES[name], tmp_path, dtype=dtype)
    model = weights.load(tmp_path, dtype="float32")
    assert model.stored_dtype == dtype
    scores_N = score_tokens(Scorers().of(model), model, make_tokens(texts))
    theirs_N = [text_logp(reference, ids) for ids in texts]
    np.testing.assert_allclose(scores_N, theirs_N, rtol=0, atol=NATS)


@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
@pytest.mark.parametrize(("dtype", "bound"), [("float16", 0.15), ("bfloat16", 1.2)])
def test_sixteen_bit_arithmetic(name, dtype, bound, tmp_path):
    """16-bit activations stay near float32, and are not float32."""
    texts = random_texts()
    reference = make_model(CASES[name], tmp_path, dtype=dtype)
    model = weights.load(tmp_path, dtype=dtype)
    assert model.dtype == dtype
    scores_N = score_tokens(Scorers().of(model), model, make_tokens(texts))
    theirs_N = np.array([text_logp(reference, ids) for ids in texts])
    assert 1e-4 < np.abs(scores_N - theirs_N).max() < bound

"""Against Hugging Face PyTorch (sdpa attention, float32), every parameter random.

Bounds: logits within 1e-4; a text's log-likelihood within 2e-3 nats, since PyTorch's own float32
is up to 1.3e-3 off float64.
"""

from __future__ import annotations

import jax
import numpy as np
import pytest
from families import CASES
from flax import nnx
from reference import logits, make_model, text_logp
from tokenised import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.score.scorer import Scorers, score_tokens

LOGITS, NATS = 1e-4, 2e-3


@pytest.fixture(scope="module")
def texts():
    """Ids of texts of many lengths, up to 119 tokens; and 1, 0 and 2 tokens."""
    random = np.random.default_rng(7)
    lengths = [119, 1, 64, 0, 41, 40, 2, 90, 13, 119]
    return [random.integers(0, 97, n).astype(np.int32) for n in lengths]


@pytest.mark.parametrize("name", CASES)
def test_logits_and_scores(name, texts, tmp_path):
    reference = make_model(CASES[name], tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    decoder = nnx.merge(model.graph, model.params)
    ours_TV = np.asarray(jax.jit(lambda ids: decoder.logits(ids))(texts[0][None]))[0]
    theirs_TV = logits(reference, texts[0])
    assert np.abs(theirs_TV).max() > 0.5, "a reference that says nothing proves nothing"
    np.testing.assert_allclose(ours_TV, theirs_TV, rtol=0, atol=LOGITS)

    scores_N = score_tokens(Scorers().of(model), model, make_tokens(texts), batch_tokens=512)
    # The reference keeps dynamic NTK's state from longer texts to later ones: a fresh one each.
    theirs_N = []
    for ids in texts:
        if "dynamic" in name:
            reference.model.rotary_emb.__init__(reference.config)
        theirs_N.append(text_logp(reference, ids))
    np.testing.assert_allclose(scores_N, theirs_N, rtol=0, atol=NATS)


@pytest.mark.parametrize("name", ["gpt_neox", "gpt2", "llama-rope-dynamic", "qwen2-windows"])
def test_long_text(name, tmp_path):
    """700 tokens: where a small error of an angle or a window shows."""
    config = dict(CASES[name])
    if name == "gpt2":
        config["n_positions"] = 1024
    elif name != "llama-rope-dynamic":
        config["max_position_embeddings"] = 1024
    else:
        config["max_position_embeddings"] = 200
    reference = make_model(config, tmp_path)
    ids = np.random.default_rng(3).integers(0, 97, 733).astype(np.int32)
    model = weights.load(tmp_path, dtype="float32")
    ours_N = score_tokens(Scorers().of(model), model, make_tokens([ids, ids[:50]]))
    theirs = text_logp(reference, ids)
    assert abs(ours_N[0] - theirs) < NATS


@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_sixteen_bit_weights_at_float32(name, dtype, texts, tmp_path):
    """Weights stored in 16 bits are exact at float32, so the score is as near as ever."""
    reference = make_model(CASES[name], tmp_path, dtype=dtype)
    model = weights.load(tmp_path, dtype="float32")
    assert model.stored_dtype == dtype
    scores_N = score_tokens(Scorers().of(model), model, make_tokens(texts))
    theirs_N = [text_logp(reference, ids) for ids in texts]
    np.testing.assert_allclose(scores_N, theirs_N, rtol=0, atol=NATS)


@pytest.mark.parametrize("name", ["gpt_neox", "llama"])
@pytest.mark.parametrize(("dtype", "bound"), [("float16", 0.15), ("bfloat16", 1.2)])
def test_sixteen_bit_arithmetic(name, dtype, bound, texts, tmp_path):
    """16-bit activations stay near float32 (PyTorch's own are as far), and are not float32."""
    reference = make_model(CASES[name], tmp_path, dtype=dtype)
    model = weights.load(tmp_path, dtype=dtype)
    assert model.dtype == dtype
    scores_N = score_tokens(Scorers().of(model), model, make_tokens(texts))
    theirs_N = np.array([text_logp(reference, ids) for ids in texts])
    assert 1e-4 < np.abs(scores_N - theirs_N).max() < bound

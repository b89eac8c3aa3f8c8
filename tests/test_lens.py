"""Every layer through the logit lens, against PyTorch's hidden states."""

from __future__ import annotations

import numpy as np
import pytest
from families import CASES
from parity import random_texts
from reference import lens_logp, make_model
from tokenised import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.score.scorer import Scorers, score_rows, score_tokens

NATS = 4e-3


@pytest.mark.parametrize(
    "name", ["gpt_neox", "gpt_neox-sequential", "gpt2", "llama-tied", "mistral", "qwen2-windows"]
)
def test_every_layer(name, tmp_path):
    reference = make_model(CASES[name], tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    texts = random_texts()
    scorer = Scorers().of(model)
    ll_RN = score_rows(scorer, model, make_tokens(texts), lens=True, batch_tokens=512)
    expected_NR = [lens_logp(reference, ids) for ids in texts]
    assert ll_RN.shape == (model.spec.L + 1, len(texts))
    np.testing.assert_allclose(ll_RN, np.transpose(expected_NR), rtol=0, atol=NATS)
    # Layers differ by far more than the bound, or one could pass for another.
    assert np.abs(np.diff(ll_RN, axis=0))[:, 0].min() > 50 * NATS


def test_last_row_is_the_models_own_score(tmp_path):
    make_model(CASES["gpt_neox"], tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    tokens = make_tokens(random_texts())
    scorer = Scorers().of(model)
    own_N = score_tokens(scorer, model, tokens)
    np.testing.assert_array_equal(score_rows(scorer, model, tokens, lens=True)[-1], own_N)


def test_memory_is_one_block_for_all_layers(tmp_path):
    """No array of the program holds tokens x vocabulary, nor layers x tokens x block."""
    from jaxmap.corpus.batches import batches, plan
    from jaxmap.score.scorer import Scorer

    make_model(CASES["gpt_neox"], tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    tokens = make_tokens([np.arange(90, dtype=np.int32)] * 40)
    batch = next(batches(tokens, plan(tokens, batch_tokens=2048)))
    lowered = Scorer(model.graph, vocabulary_block=16).lower(model.params, batch, lens=True)
    places = batch.ids_BT.size
    text = lowered.as_text()
    assert f"{places}x14xf32" in text
    assert f"{places}x97x" not in text
    assert f"3x{places}x14x" not in text

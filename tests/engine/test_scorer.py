"""A text's score depends on the text and the model, and on nothing else."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from hypothesis import given, settings
from hypothesis import strategies as st
from support.cases.core import CASES
from support.reference import make_model, text_logp
from support.token_sets import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.engine.readout import read
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens
from jaxmap.engine.unembedding import Unembedding
from jaxmap.errors import InputError

NAMES = ["gpt_neox", "gpt2-scale-by-layer", "llama-rope-longrope", "qwen2-windows"]
NATS = 1e-4


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    made = {}
    for name in NAMES:
        folder = tmp_path_factory.mktemp(name)
        made[name] = (make_model(CASES[name], folder), weights.load(folder, dtype="float32"))
    return made


@pytest.fixture(scope="module")
def texts():
    random = np.random.default_rng(11)
    lengths = random.integers(0, 120, 40)
    return [random.integers(0, 97, n).astype(np.int32) for n in lengths]


def _scores(model, texts, **options):
    return score_tokens(Scorers().of(model), model, make_tokens(texts), **options)


@pytest.mark.parametrize("name", NAMES)
def test_order_batch_size_padding_and_neighbours_change_nothing(name, models, texts):
    _, model = models[name]
    scores_N = _scores(model, texts)
    order = np.random.default_rng(0).permutation(len(texts))
    np.testing.assert_allclose(
        _scores(model, [texts[i] for i in order]), scores_N[order], atol=NATS
    )
    for batch_tokens in (1, 300, 2048):
        other_N = _scores(model, texts, batch_tokens=batch_tokens)
        np.testing.assert_allclose(other_N, scores_N, rtol=0, atol=NATS)
    alone = [_scores(model, [text])[0] for text in texts[:5]]
    np.testing.assert_allclose(alone, scores_N[:5], rtol=0, atol=NATS)
    # Beside a text of 1,000 tokens of one kind, in whose row it lies.
    crowd = [np.full(120, 5, np.int32)] * 20
    among = _scores(model, [*crowd, texts[3], *crowd])[20]
    assert abs(among - scores_N[3]) < NATS


@pytest.mark.parametrize("name", NAMES)
def test_same_inputs_same_bits(name, models, texts):
    _, model = models[name]
    np.testing.assert_array_equal(_scores(model, texts), _scores(model, texts))


@pytest.mark.parametrize("name", NAMES)
def test_causality(name, models):
    """Changing a later token changes no earlier log-probability."""
    _, model = models[name]
    decoder = nnx.merge(model.graph, model.params)
    ids = np.random.default_rng(2).integers(0, 97, (1, 60)).astype(np.int32)
    changed = ids.copy()
    changed[0, 40] = (changed[0, 40] + 1) % 97
    logits = jax.jit(lambda ids: decoder.logits(ids))
    before, after = np.asarray(logits(ids))[0], np.asarray(logits(changed))[0]
    np.testing.assert_array_equal(before[:40], after[:40])
    assert np.abs(before[40:] - after[40:]).max() > 1e-3


def test_nothing_to_score(models):
    _, model = models["gpt_neox"]
    scores_N = _scores(model, [np.zeros(0, np.int32), np.array([5], np.int32)])
    np.testing.assert_array_equal(scores_N, [0.0, 0.0])
    assert len(_scores(model, [])) == 0


def test_only_the_response_is_scored(models):
    reference, model = models["gpt_neox"]
    ids = np.random.default_rng(5).integers(0, 97, 50).astype(np.int32)
    tokens = make_tokens([ids, ids, ids], first=[1, 30, 50])
    scores_N = score_tokens(Scorers().of(model), model, tokens)
    expected = [text_logp(reference, ids), text_logp(reference, ids, 30), 0.0]
    np.testing.assert_allclose(scores_N, expected, rtol=0, atol=2e-3)


def test_id_outside_the_vocabulary(models):
    _, model = models["gpt_neox"]
    with pytest.raises(InputError, match="id 97, but the model's vocabulary has 97"):
        _scores(model, [np.array([1, 97], np.int32)])


def test_one_compilation_for_checkpoints_of_one_architecture(texts, tmp_path):
    scorers = Scorers()
    for step in range(3):
        make_model(CASES["gpt_neox"], tmp_path / str(step), seed=step)
        model = weights.load(tmp_path / str(step), dtype="float32")
        score_tokens(scorers.of(model), model, make_tokens(texts))
    assert scorers.of(model).compilations == 1


def test_scorers_forget_the_longest_unused(models):
    scorers = Scorers(capacity=2)
    neox, gpt2, llama = (models[name][1] for name in NAMES[:3])
    first = scorers.of(neox)
    scorers.of(gpt2)
    assert scorers.of(neox) is first
    scorers.of(llama)
    assert scorers.of(neox) is first
    assert len(scorers._scorers) == 2


def target_logp(hidden_ND, head_VD, target_N, block):
    names = ("log_likelihood",)
    return read(hidden_ND, Unembedding(head_VD), target_N, names, block=block)["log_likelihood"]


def _logp_oracle(hidden_ND, head_VD, target_N):
    logits_NV = np.asarray(hidden_ND, np.float64) @ np.asarray(head_VD, np.float64).T
    top_N = logits_NV.max(-1)
    norm_N = top_N + np.log(np.exp(logits_NV - top_N[:, None]).sum(-1))
    return logits_NV[np.arange(len(target_N)), target_N] - norm_N


@settings(max_examples=40, deadline=None)
@given(V=st.integers(1, 300), block=st.integers(1, 320), scale=st.sampled_from([0.1, 1.0, 30.0]))
def test_readout_is_exact_for_any_block(V, block, scale):
    """Also where the block does not divide the vocabulary, and where logits are in the hundreds."""
    random = np.random.default_rng(V * 1000 + block)
    hidden_ND = (random.normal(size=(5, 8)) * scale).astype(np.float32)
    head_VD = random.normal(size=(V, 8)).astype(np.float32)
    target_N = random.integers(0, V, 5).astype(np.int32)
    ours = jax.jit(target_logp, static_argnames="block")(hidden_ND, head_VD, target_N, block=block)
    np.testing.assert_allclose(
        ours, _logp_oracle(hidden_ND, head_VD, target_N), atol=3e-5 * (1 + scale)
    )


def test_readout_sums_in_float32_at_any_dtype():
    random = np.random.default_rng(0)
    head_VD = jnp.asarray(random.normal(size=(50257, 16)) * 0.02, jnp.bfloat16)
    hidden_ND = jnp.asarray(random.normal(size=(4, 16)), jnp.bfloat16)
    target_N = jnp.asarray([0, 5, 50256, 777])
    ours = target_logp(hidden_ND, head_VD, target_N, block=4096)
    np.testing.assert_allclose(ours, _logp_oracle(hidden_ND, head_VD, target_N), atol=1e-4)


def test_no_array_of_all_logits(models):
    """In the compiled program no array holds rows x tokens x vocabulary."""
    from jaxmap.corpus.batches import batches, plan
    from jaxmap.engine.scorer import Scorer

    _, model = models["gpt_neox"]
    tokens = make_tokens([np.arange(90, dtype=np.int32)] * 40)
    batch = next(batches(tokens, plan(tokens, batch_tokens=2048)))
    scorer = Scorer(model.graph, vocabulary_block=16)
    lowered = scorer.lower(model.params, batch).as_text()
    B, T = batch.ids_BT.shape
    assert f"{B * T}x14xf32" in lowered  # 97 entries in seven blocks of 14
    assert f"{B * T}x97x" not in lowered
    assert f"{B}x{T}x97x" not in lowered

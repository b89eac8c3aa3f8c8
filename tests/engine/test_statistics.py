"""Statistics of a token against NumPy float64, and of a text against those of its tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.checkpoints import NEOX, make_checkpoint
from support.parity import random_texts
from support.token_sets import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.engine.readout import Unembedding, read
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_rows
from jaxmap.engine.statistics import STATISTICS
from jaxmap.errors import InputError

N, E, V = 23, 12, 97


def capped(logits, bias):
    logits = logits if bias is None else logits + bias
    return 30.0 * jnp.tanh(logits / 30.0)


def capped_64(logits_NV, bias_V):
    return 30.0 * np.tanh((logits_NV if bias_V is None else logits_NV + bias_V) / 30.0)


def log_softmax_64(logits_NV):
    top_N1 = logits_NV.max(-1, keepdims=True)
    return logits_NV - top_N1 - np.log(np.exp(logits_NV - top_N1).sum(-1, keepdims=True))


def oracle(logp_NV, target_N):
    """Every statistic in float64, from all log-probabilities."""
    each_N = np.arange(len(target_N))
    return {
        "log_likelihood": logp_NV[each_N, target_N],
        "entropy": -(np.exp(logp_NV) * logp_NV).sum(-1),
    }


def drawn(scale, bias=False, rows=V):
    random = np.random.default_rng(2)
    hidden_NE = (random.normal(0, scale, (N, E))).astype(np.float32)
    head_VE = random.normal(0, 1, (rows, E)).astype(np.float32)
    bias_V = random.normal(0, 3, rows).astype(np.float32) if bias else None
    target_N = random.integers(0, V, N).astype(np.int32)
    return hidden_NE, head_VE, bias_V, target_N


@pytest.mark.parametrize("scale", [0.1, 1.0, 20.0])
@pytest.mark.parametrize(("block", "bias"), [(97, False), (40, True), (16, False), (1, True)])
def test_tokens(block, bias, scale):
    hidden_NE, head_VE, bias_V, target_N = drawn(scale, bias)
    head = Unembedding(
        jnp.asarray(head_VE), None if bias_V is None else jnp.asarray(bias_V), capped
    )
    ours = read(jnp.asarray(hidden_NE), head, jnp.asarray(target_N), STATISTICS, block=block)
    logits_NV = capped_64(hidden_NE.astype(np.float64) @ head_VE.astype(np.float64).T, bias_V)
    theirs = oracle(log_softmax_64(logits_NV), target_N)
    assert set(ours) == set(theirs) == set(STATISTICS)
    for name, value_N in theirs.items():
        assert ours[name].dtype == STATISTICS[name].dtype
        np.testing.assert_allclose(ours[name], value_N, rtol=2e-5, atol=2e-5, err_msg=name)


def test_rows_beyond_the_vocabulary_count_for_nothing():
    hidden_NE, head_VE, _, target_N = drawn(1.0, rows=V + 15)
    head = Unembedding(jnp.asarray(head_VE), size=V)
    ours = read(jnp.asarray(hidden_NE), head, jnp.asarray(target_N), STATISTICS, block=8)
    theirs = oracle(log_softmax_64(hidden_NE.astype(np.float64) @ head_VE[:V].T), target_N)
    for name, value_N in theirs.items():
        np.testing.assert_allclose(ours[name], value_N, rtol=2e-5, atol=2e-5, err_msg=name)


def test_a_certain_model_has_no_entropy():
    head = Unembedding(jnp.asarray([[0.0], [1.0], [-1.0]]))
    hidden_NE = jnp.asarray([[80.0], [3000.0]])
    found = read(hidden_NE, head, jnp.asarray([1, 2]), ("entropy",), block=2)
    # The runner-up is 80 and 3,000 nats behind: 81 exp(-80), and nothing that rounding leaves.
    np.testing.assert_allclose(found["entropy"], 0, rtol=0, atol=2e-33)
    assert (np.asarray(found["entropy"]) >= 0).all()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "m"
    return weights.load(make_checkpoint(folder, NEOX, vocab_size=V), dtype="float32")


def by_hand(model, texts, first):
    """Log-probabilities [T - first, V] and targets of each text, from whole logits."""
    from flax import nnx

    decoder = nnx.merge(model.graph, model.params)
    logits = jax.jit(lambda ids: decoder.logits(ids))
    for ids, k in zip(texts, first, strict=True):
        if k >= len(ids):
            yield np.zeros((0, V)), ids[:0]
            continue
        logits_TV = np.asarray(logits(ids[None]), np.float64)[0]
        yield log_softmax_64(logits_TV)[k - 1 : -1], ids[k:]


@pytest.mark.parametrize("batch_tokens", [128, 512])
def test_texts_and_their_tokens(model, batch_tokens):
    """Sums and means of a text are those of its scored tokens, which lie where offsets say."""
    texts = random_texts()
    first = np.array([1, 1, 30, 1, 40, 39, 1, 7, 2, 1], np.int32)
    tokens = make_tokens(texts, first)
    scores = score_rows(
        Scorers().of(model),
        model,
        tokens,
        statistics=STATISTICS,
        per_token=True,
        batch_tokens=batch_tokens,
    )
    assert set(scores) == {name for name, s in STATISTICS.items() if s.per_text != "none"}
    assert set(scores.per_token) == set(STATISTICS)
    bounds = np.stack([scores.offsets_N1[:-1], scores.offsets_N1[1:]], 1)
    for n, (logp_TV, target_T) in enumerate(by_hand(model, texts, tokens.first_scored)):
        start, stop = bounds[n]
        assert stop - start == len(target_T) == tokens.num_scored[n]
        for name, value_T in oracle(logp_TV, target_T).items():
            statistic = STATISTICS[name]
            ours_T = scores.per_token[name][start:stop]
            assert ours_T.dtype == statistic.dtype
            np.testing.assert_allclose(ours_T, value_T, rtol=1e-4, atol=1e-4, err_msg=name)
            total = ours_T.astype(np.float64).sum()
            if statistic.per_text == "sum":
                np.testing.assert_allclose(scores[name][n], total, rtol=0, atol=1e-9)
            elif statistic.per_text == "mean":
                mean = total / max(1, len(ours_T))
                np.testing.assert_allclose(scores[name][n], mean, rtol=0, atol=1e-12)


def test_every_layer_is_read_for_every_statistic(model):
    tokens, names = make_tokens(random_texts()), ("entropy", "log_likelihood")
    scorer = Scorers().of(model)
    rows = score_rows(scorer, model, tokens, statistics=names, per_token={"entropy"}, lens=True)
    own = score_rows(scorer, model, tokens, statistics=names, per_token={"entropy"})
    assert list(rows) == list(own) == list(names)
    for name in names:
        assert rows[name].shape == (model.spec.L + 1, len(tokens))
        np.testing.assert_array_equal(rows[name][-1], own[name])
        assert np.abs(rows[name][0] - own[name]).max() > 0.1
    assert rows.per_token["entropy"].shape == (model.spec.L + 1, tokens.num_scored.sum())
    np.testing.assert_array_equal(rows.per_token["entropy"][-1], own.per_token["entropy"])


def test_a_log_likelihood_is_the_same_whatever_else_is_read(model):
    tokens, scorer = make_tokens(random_texts()), Scorers().of(model)
    alone = score_rows(scorer, model, tokens)
    beside = score_rows(scorer, model, tokens, statistics=STATISTICS)
    np.testing.assert_allclose(beside["log_likelihood"], alone["log_likelihood"], rtol=0, atol=1e-5)
    assert list(alone) == ["log_likelihood"]
    assert alone.per_token == {}


def test_names_that_are_none(model):
    tokens, scorer = make_tokens(random_texts()), Scorers().of(model)
    with pytest.raises(
        InputError, match="statistics: unknown statistic 'perplexity'; known: log_l"
    ):
        score_rows(scorer, model, tokens, statistics=("perplexity",))
    with pytest.raises(InputError, match=r"per_token: .'entropy'. are not among"):
        score_rows(scorer, model, tokens, per_token={"entropy"})

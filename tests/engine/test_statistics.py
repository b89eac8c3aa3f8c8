"""Statistics of a token against NumPy float64, and of a text against those of its tokens."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support.checkpoints import NEOX, make_checkpoint
from support.on_devices import here
from support.parity import random_texts
from support.statistics import log_softmax_64, oracle
from support.token_sets import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.engine.readout import read
from jaxmap.engine.reference import ReferenceModel
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_rows
from jaxmap.engine.statistics import STATISTICS
from jaxmap.engine.unembedding import Reference, Unembedding
from jaxmap.errors import InputError

strict = pytest.mark.usefixtures("strict")
N, E, V = 23, 12, 97


def capped(logits, bias):
    logits = logits if bias is None else logits + bias
    return 100.0 * jnp.tanh(logits / 100.0)


def capped_64(logits_NV, bias_V):
    return 100.0 * np.tanh((logits_NV if bias_V is None else logits_NV + bias_V) / 100.0)


def close(ours, theirs, bound=3e-5):
    assert set(ours) == set(theirs)
    for name, value_N in theirs.items():
        assert ours[name].dtype == STATISTICS[name].dtype
        np.testing.assert_allclose(ours[name], value_N, rtol=bound, atol=bound, err_msg=name)


ALONE = tuple(name for name, statistic in STATISTICS.items() if not statistic.needs_reference)


def drawn(scale, bias=False, rows=V):
    random = np.random.default_rng(2)
    hidden_NE = (random.normal(0, scale, (N, E))).astype(np.float32)
    head_VE = random.normal(0, 1, (rows, E)).astype(np.float32)
    bias_V = random.normal(0, 3, rows).astype(np.float32) if bias else None
    target_N = random.integers(0, V, N).astype(np.int32)
    return hidden_NE, head_VE, bias_V, target_N


@strict
@pytest.mark.parametrize(
    ("block", "bias", "scale"),
    [(97, False, 20.0), (40, True, 0.1), (16, False, 1.0), (1, True, 20.0)],
)
def test_tokens(block, bias, scale):
    hidden_NE, head_VE, bias_V, target_N = drawn(scale, bias)
    near_NE = hidden_NE + np.float32(0.5 * scale) * drawn(1.0)[0][::-1]
    target_N[::3] = capped_64(hidden_NE @ head_VE.T, bias_V).argmax(-1)[::3]
    head = Unembedding(*(None if x is None else jnp.asarray(x) for x in (head_VE, bias_V)), capped)
    ours = read(
        jnp.asarray(hidden_NE),
        head,
        jnp.asarray(target_N),
        STATISTICS,
        block=block,
        reference=Reference(jnp.asarray(near_NE), head),
    )
    logp_NV, reference_NV = (
        log_softmax_64(capped_64(x.astype(np.float64) @ head_VE.astype(np.float64).T, bias_V))
        for x in (hidden_NE, near_NE)
    )
    theirs = oracle(logp_NV, target_N, reference_NV)
    close(ours, theirs)
    assert theirs["token_kl"].max() > 1e-3
    if scale > 0.1:
        assert 0 < theirs["same_top_token"].sum() < N
        assert np.abs(theirs["token_kl"] - theirs["token_kl_reverse"]).max() > 1e-3


@strict
@pytest.mark.parametrize(
    ("rows", "sizes"),
    [
        ((V + 15, V), (V, V)),
        ((V, V + 15), (V - 20, V)),
        ((V + 15, V + 15), (V, V - 20)),
        ((V - 20, V), (V - 20, V)),
        ((V, V - 20), (V, V - 20)),
    ],
)
def test_vocabularies_of_two_sizes_and_rows_that_are_no_tokens(rows, sizes):
    hidden_NE, head_VE, _, target_N = drawn(1.0, rows=V + 15)
    other_NE, other_VE = hidden_NE[::-1].copy(), head_VE + np.float32(0.1)
    target_N %= min(sizes)
    heads = [
        Unembedding(jnp.asarray(matrix_VE[:count]), size=size if size < count else None)
        for matrix_VE, count, size in zip((head_VE, other_VE), rows, sizes, strict=True)
    ]
    ours = read(
        jnp.asarray(hidden_NE),
        heads[0],
        jnp.asarray(target_N),
        STATISTICS,
        block=8,
        reference=Reference(jnp.asarray(other_NE), heads[1]),
    )
    logp_NV, reference_NV = (
        log_softmax_64(x.astype(np.float64) @ matrix_VE[:size].T)
        for x, matrix_VE, size in zip(
            (hidden_NE, other_NE), (head_VE, other_VE), sizes, strict=True
        )
    )
    close(ours, oracle(logp_NV, target_N, reference_NV))


@strict
def test_equal_logits():
    """The top token is the first of equals, and a rank of 1 is its alone."""
    head = Unembedding(jnp.asarray(np.repeat(drawn(1.0)[1][:5], 3, axis=0)))
    names = ("top_token", "top_is_target", "target_rank")
    hidden_NE = jnp.asarray(drawn(1.0)[0])
    readout = jax.jit(lambda target_N: read(hidden_NE, head, target_N, names, block=4))
    for target in range(15):
        found = readout(jnp.full(N, target))
        assert (np.asarray(found["top_token"]) % 3 == 0).all()
        np.testing.assert_array_equal(found["top_is_target"], found["target_rank"] == 1)


@strict
@pytest.mark.parametrize("rows", [(700, 700), (700, 690), (690, 700)])
def test_the_likeliest_of_many(rows):
    """Blocks of 16 columns many times over, whose largest are looked for in groups."""
    random = np.random.default_rng(3)
    hidden_NE, other_NE = random.normal(0, 1, (2, N, E)).astype(np.float32)
    other_NE = hidden_NE + np.float32(0.3) * other_NE
    head_VE = random.normal(0, 1, (700, E)).astype(np.float32)
    found = read(
        jnp.asarray(hidden_NE),
        Unembedding(jnp.asarray(head_VE[: rows[0]])),
        jnp.zeros(N, jnp.int32),
        ("same_top_5", "same_top_token"),
        block=300,
        reference=Reference(jnp.asarray(other_NE), Unembedding(jnp.asarray(head_VE[: rows[1]]))),
    )
    logits = [x.astype(np.float64) @ head_VE[: min(rows)].T for x in (hidden_NE, other_NE)]
    order = [np.argsort(-logit_NV, axis=-1) for logit_NV in logits]
    expected = [len({*a[:5]} & {*b[:5]}) for a, b in zip(*order, strict=True)]
    np.testing.assert_array_equal(found["same_top_5"], expected)
    assert len(set(expected)) > 2
    np.testing.assert_array_equal(found["same_top_token"], order[0][:, 0] == order[1][:, 0])


@strict
def test_a_model_and_itself():
    hidden_NE, head_VE, _, target_N = drawn(20.0)
    head = Unembedding(jnp.asarray(head_VE))
    names = ("token_kl", "token_kl_reverse", "same_top_token")
    mine = Reference(jnp.asarray(hidden_NE), head)
    found = read(mine.states, head, jnp.asarray(target_N), names, block=16, reference=mine)
    for name, expected in zip(names, (0, 0, 1), strict=True):
        np.testing.assert_array_equal(found[name], expected)


def test_a_comparison_needs_a_reference():
    head = Unembedding(jnp.eye(3))
    with pytest.raises(InputError, match="reference: a statistic that compares"):
        read(jnp.ones((2, 3)), head, jnp.zeros(2, jnp.int32), ("token_kl",), block=2)


@strict
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
        statistics=ALONE,
        per_token=True,
        batch_tokens=batch_tokens,
    )
    assert set(scores) == {name for name in ALONE if STATISTICS[name].per_text != "none"}
    assert set(scores.per_token) == set(ALONE)
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
    beside = score_rows(scorer, model, tokens, statistics=ALONE)
    np.testing.assert_allclose(beside["log_likelihood"], alone["log_likelihood"], rtol=0, atol=1e-5)
    assert list(alone) == ["log_likelihood"]
    assert alone.per_token == {}


def whole_logits(model, ids):
    from flax import nnx

    logits = jax.jit(lambda params, ids: nnx.merge(model.graph, params).logits(ids))
    return log_softmax_64(np.asarray(logits(model.params, ids[None]), np.float64)[0, :-1])


def test_a_model_beside_another(model, tmp_path):
    """Of another architecture and a larger vocabulary; every layer with the lens."""
    other = weights.load(
        make_checkpoint(tmp_path, NEOX, seed=3, vocab_size=V + 30, hidden_size=24), dtype="float32"
    )
    texts, scorers = random_texts()[5:8], Scorers()
    reference = ReferenceModel(scorers.of(other), other)
    options = dict(statistics=STATISTICS, per_token=True, reference=reference, batch_tokens=128)
    scores = score_rows(scorers.of(model), model, make_tokens(texts), **options)
    for ids, start, stop in zip(texts, scores.offsets_N1, scores.offsets_N1[1:], strict=False):
        expected = oracle(whole_logits(model, ids), ids[1:], whole_logits(other, ids))
        ours = {name: value_M[start:stop] for name, value_M in scores.per_token.items()}
        close(ours, expected, 2e-4)
    layers = score_rows(scorers.of(model), model, make_tokens(texts), lens=True, **options)
    for name, value_RN in layers.items():
        np.testing.assert_array_equal(value_RN[-1], scores[name], err_msg=name)
    assert np.abs(layers["token_kl"][0] - scores["token_kl"]).min() > 0.01


def test_layers_beside_the_models_own_output(model):
    texts, scorer = random_texts()[5:8], Scorers().of(model)
    names = ("token_kl", "same_top_token", "log_likelihood")
    scores = score_rows(scorer, model, make_tokens(texts), lens=True, statistics=names)
    np.testing.assert_allclose(scores["token_kl"][-1], 0, atol=1e-5)
    np.testing.assert_array_equal(scores["same_top_token"][-1], 1)
    alone = score_rows(scorer, model, make_tokens(texts), lens=True)["log_likelihood"]
    np.testing.assert_allclose(scores["log_likelihood"], alone, rtol=0, atol=1e-5)

    from flax import nnx

    from jaxmap.model.inputs import Inputs

    decoder = nnx.merge(model.graph, model.params)
    for n, ids in enumerate(texts):
        inputs = Inputs.from_ids(jnp.asarray(ids[None, :-1]))
        _, x_LBTD = decoder.residual(inputs, read=lambda x: x)
        p_TV = whole_logits(model, ids)
        for layer, x in enumerate(x_LBTD):
            logits_TV = np.asarray(decoder.unembedded(x, inputs) @ decoder.head_VE.T, np.float64)[0]
            expected = oracle(log_softmax_64(logits_TV), ids[1:], p_TV)
            np.testing.assert_allclose(
                scores["token_kl"][layer, n], expected["token_kl"].sum(), rtol=1e-4
            )
            mean = expected["same_top_token"].mean()
            np.testing.assert_allclose(scores["same_top_token"][layer, n], mean, atol=1e-12)


def test_a_vocabulary_cut_over_devices():
    """97 and 127 entries over 4 and 2 devices, none of which divides them."""
    found = here(
        "statistics",
        NEOX | {"vocab_size": V},
        NEOX | {"vocab_size": V + 30},
        ["model=4,data=2", "fsdp=4,model=2"],
    )
    assert {name for _, name, *_ in found} == set(STATISTICS)
    for mesh, name, worst, spread in found:
        same = STATISTICS[name].dtype == "bool" or name == "mass_outside"  # none: it has all
        assert spread > 0.02 or same, (mesh, name)
        assert worst < 2e-5, (mesh, name)


def test_names_that_are_none(model):
    tokens, scorer = make_tokens(random_texts()), Scorers().of(model)
    with pytest.raises(
        InputError, match="statistics: unknown statistic 'perplexity'; known: log_l"
    ):
        score_rows(scorer, model, tokens, statistics=("perplexity",))
    with pytest.raises(InputError, match=r"per_token: .'entropy'. are not among"):
        score_rows(scorer, model, tokens, per_token={"entropy"})

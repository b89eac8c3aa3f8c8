"""Training of a tuned lens: it beats the logit lens, and a kill changes nothing."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from support.checkpoints import make_checkpoint
from support.parity import lens_rows
from support.token_sets import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.engine.scorer import Scorers
from jaxmap.errors import InputError
from jaxmap.lens.trainer import Training, train_lens
from jaxmap.model.inputs import Inputs


def _chain(count: int, vocabulary: int, seed: int) -> list[np.ndarray]:
    """Texts of a random Markov chain, of which each token has a handful of successors."""
    next_VK = np.random.default_rng(0).integers(0, vocabulary, (vocabulary, 4))
    random = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        ids = [int(random.integers(vocabulary))]
        for _ in range(int(random.integers(40, 63))):
            ids.append(int(next_VK[ids[-1], min(3, random.geometric(0.5) - 1)]))
        texts.append(np.array(ids, np.int32))
    return texts


@pytest.fixture(scope="module")
def learnt(tmp_path_factory) -> weights.Model:
    """A model that was trained, for a few seconds, on texts of a chain."""
    folder = make_checkpoint(
        tmp_path_factory.mktemp("learnt"), vocab_size=60, hidden_size=32, num_hidden_layers=3,
        spread=0.1,
    )  # fmt: skip
    model = weights.load(folder, dtype="float32")
    ids_NT = jnp.asarray(np.stack([text[:40] for text in _chain(512, 60, 1)]))
    optimiser = optax.adam(3e-3)

    def loss(params, ids_BT):
        logits_BTV = nnx.merge(model.graph, params).logits(ids_BT)[:, :-1]
        return optax.softmax_cross_entropy_with_integer_labels(logits_BTV, ids_BT[:, 1:]).mean()

    @jax.jit
    def train(params):
        def step(carry, i):
            params, state = carry
            rows = jax.lax.dynamic_slice_in_dim(ids_NT, (i * 16) % 512, 16)
            value, grads = jax.value_and_grad(loss)(params, rows)
            updates, state = optimiser.update(grads, state, params)
            return (optax.apply_updates(params, updates), state), value

        start = (params, optimiser.init(params))
        (params, _), loss_S = jax.lax.scan(step, start, jnp.arange(200))
        return params, loss_S

    params, loss_S = train(model.params)
    assert loss_S[-1] < 0.5 * loss_S[0], "the model has not learnt"
    return dataclasses.replace(model, params=params)


TRAINING = Training(steps=60, learning_rate=1e-2, batch_tokens=1024, held_out=0.25)


def test_it_beats_the_logit_lens_at_every_layer(learnt, tmp_path):
    tokens = make_tokens(_chain(96, 60, 2))
    trained = train_lens(learnt, tokens, TRAINING, tmp_path, vocabulary_block=32)
    assert trained.train_texts == 72
    assert trained.held_out_texts == 24
    assert (trained.tuned_L < 0.8 * trained.logit_L).all(), (trained.logit_L, trained.tuned_L)
    # And what was measured is what scoring gives, on texts that it has not seen either.
    scorer, fresh = Scorers().of(learnt), make_tokens(_chain(24, 60, 3))
    logit_RN = lens_rows(scorer, learnt, fresh, lens=True)
    tuned_RN = lens_rows(scorer, learnt, fresh, lens=trained.translators)
    assert (tuned_RN[:-1].sum(1) > logit_RN[:-1].sum(1)).all()
    np.testing.assert_array_equal(tuned_RN[-1], logit_RN[-1])


def test_what_is_measured_is_the_kl_of_whole_distributions(learnt, tmp_path):
    """Of the untrained lens on the held-out texts, by a softmax over all logits."""
    texts = [text[:40] for text in _chain(12, 60, 2)]
    training = Training(steps=1, learning_rate=1e-9, held_out=0.4, batch_tokens=256)
    trained = train_lens(learnt, make_tokens(texts), training, tmp_path, vocabulary_block=32)
    held = np.random.default_rng([0, 0]).permutation(12)[:5]

    @jax.jit
    def whole(ids_BT):
        decoder = nnx.merge(learnt.graph, learnt.params)
        inputs = Inputs.from_ids(ids_BT)
        x_BTD, x_LBTD = decoder.residual(inputs, read=lambda x: x)
        p_BTV, q_LBTV = (
            jax.nn.log_softmax(decoder.unembedded(x, inputs) @ decoder.head_VE.T)
            for x in (x_BTD, x_LBTD)
        )
        p_BTV, q_LBTV = p_BTV[:, :-1], q_LBTV[:, :, :-1]  # the last token predicts nothing here
        return (jnp.exp(p_BTV) * (p_BTV - q_LBTV)).sum(-1).mean((1, 2))

    assert trained.held_out_tokens == 5 * 39
    expected_L = whole(jnp.asarray(np.stack([texts[i] for i in held])))
    np.testing.assert_allclose(trained.logit_L, expected_L, rtol=1e-4)


def test_killed_and_gone_on_with_gives_the_same(learnt, tmp_path):
    tokens = make_tokens(_chain(24, 60, 2))
    training = Training(steps=9, learning_rate=1e-2, batch_tokens=256)

    def run(folder, on_step):
        return train_lens(
            learnt, tokens, training, folder, vocabulary_block=32, save_every=0, on_step=on_step
        )

    whole = run(tmp_path / "whole", lambda step, loss_L: None)
    steps = []

    def killed(step, loss_L):
        steps.append(step)
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", killed)
    again = run(tmp_path / "killed", killed)
    assert steps == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    for one, other in zip(
        jax.tree.leaves(whole.translators), jax.tree.leaves(again.translators), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(whole.tuned_L, again.tuned_L)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 0}, "^steps: "),
        ({"learning_rate": 0.0}, "^learning_rate: "),
        ({"batch_tokens": 0}, "^batch_tokens: "),
        ({"held_out": 1.0}, "^held_out: "),
    ],
)
def test_training_that_cannot_be(values, message):
    with pytest.raises(InputError, match=message):
        Training(**values)

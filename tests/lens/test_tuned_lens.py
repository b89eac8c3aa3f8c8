"""The tuned lens: its definition, its loss and the gradient, in bounded memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from support.cases.classic import CASES as CLASSIC
from support.cases.core import CASES
from support.cases.gemmas import CASES as GEMMAS
from support.checkpoints import make_checkpoint
from support.parity import LENS_NATS, lens_rows, random_texts
from support.reference import lens_logp, make_model
from support.token_sets import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.corpus.batches import batches, plan
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens
from jaxmap.engine.translators import Translators
from jaxmap.engine.unembedding import Unembedding
from jaxmap.lens.loss import distribution, kl
from jaxmap.lens.trainer import Tuner, on_device


def random_translators(L: int, D: int) -> Translators:
    random = np.random.default_rng(5)
    weight_LDD = random.normal(0, 0.3 / D**0.5, (L, D, D)).astype(np.float32)
    bias_LD = random.normal(0, 0.3, (L, D)).astype(np.float32)
    return Translators(jnp.asarray(weight_LDD), jnp.asarray(bias_LD))


@pytest.mark.parametrize(
    "config",
    [
        CASES["gpt_neox"],
        CLASSIC["opt-350m"],
        pytest.param(GEMMAS["gemma3n_text"], marks=pytest.mark.slow),  # several residual streams
    ],
    ids=lambda config: config["model_type"],
)
def test_the_definition_of_the_tuned_lens_package(config, tmp_path):
    """h + Linear(h) before the model's own norm and head, Linear as torch has it."""
    import torch

    reference = make_model(config, tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    spec, texts = model.spec, random_texts()
    translators = random_translators(spec.L, spec.D)
    linears = [torch.nn.Linear(spec.D, spec.D) for _ in range(spec.L)]
    with torch.no_grad():
        for i, linear in enumerate(linears):
            linear.weight.copy_(torch.from_numpy(np.array(translators.weight_LDD[i])))
            linear.bias.copy_(torch.from_numpy(np.array(translators.bias_LD[i])))
    theirs_RN = np.transpose(
        [
            lens_logp(reference, ids, translate=lambda i, h: h + linears[i](h))
            if len(ids) > 1
            else np.zeros(spec.L + 1)
            for ids in texts
        ]
    )
    scorer, tokens = Scorers().of(model), make_tokens(texts)
    ours_RN = lens_rows(scorer, model, tokens, lens=translators, batch_tokens=512)
    np.testing.assert_allclose(ours_RN, theirs_RN, rtol=0, atol=LENS_NATS)
    logit_RN = lens_rows(scorer, model, tokens, lens=True, batch_tokens=512)
    assert np.abs(ours_RN - logit_RN)[:-1].max(1).min() > 50 * LENS_NATS
    np.testing.assert_array_equal(ours_RN[-1], logit_RN[-1])
    own_N = score_tokens(scorer, model, tokens, batch_tokens=512)
    np.testing.assert_array_equal(ours_RN[-1], own_N)
    none = Translators.identity(spec.L, spec.D)
    np.testing.assert_allclose(
        lens_rows(scorer, model, tokens, lens=none, batch_tokens=512), logit_RN, rtol=0, atol=1e-4
    )


def _capped(logits, bias):
    logits = logits if bias is None else logits + bias
    return 3.0 * jnp.tanh(logits / 3.0)


@pytest.mark.parametrize(("block", "bias"), [(97, False), (40, True), (16, False)])
def test_kl_and_its_gradient(block, bias):
    """Against the whole softmax and its derivative by JAX, in float64."""
    N, E, V = 23, 12, 97
    random = np.random.default_rng(2)
    hidden, final, head = (random.normal(0, 1, shape) for shape in ((N, E), (N, E), (V, E)))
    bias_V = random.normal(0, 1, V) if bias else None
    weight_N = random.normal(0, 1, N)  # what follows need not weigh tokens alike

    def whole(hidden):
        p, q = (jax.nn.log_softmax(_capped(x @ head.T, bias_V), axis=-1) for x in (final, hidden))
        kl_N = jnp.sum(jnp.exp(p) * (p - q), axis=-1)
        return jnp.sum(weight_N * kl_N), kl_N

    with jax.enable_x64(True):
        grad_NE, kl_N = jax.grad(whole, has_aux=True)(jnp.asarray(hidden))
        grad_NE, kl_N = np.asarray(grad_NE), np.asarray(kl_N)

    single = [None if x is None else jnp.asarray(x, jnp.float32) for x in (final, head, bias_V)]
    final32, head32, bias32 = single
    unembedding = Unembedding(head32, bias32, _capped)
    lse_N = distribution(final32, unembedding, block).log_sum_exp_N

    def ours(hidden):
        kl_N = kl(hidden, final32, lse_N, unembedding, block)
        return jnp.sum(jnp.asarray(weight_N, jnp.float32) * kl_N), kl_N

    ours_NE, differentiated_N = jax.grad(ours, has_aux=True)(jnp.asarray(hidden, jnp.float32))
    plain_N = ours(jnp.asarray(hidden, jnp.float32))[1]
    np.testing.assert_allclose(plain_N, kl_N, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(differentiated_N, kl_N, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(ours_NE, grad_NE, rtol=1e-3, atol=1e-5)


def test_memory_is_one_block_forward_and_backward(tmp_path):
    """No array of a training step holds tokens x vocabulary, nor layers x tokens x block."""
    V, block = 3970, 57
    model = weights.load(make_checkpoint(tmp_path, vocab_size=V), dtype="float32")
    tokens = make_tokens([np.arange(90, dtype=np.int32)] * 40)
    batch = next(batches(tokens, plan(tokens, batch_tokens=2048)))
    optimiser = optax.adam(1e-3)
    tuner = Tuner(model.graph, optimiser, vocabulary_block=block)
    translators = Translators.identity(model.spec.L, model.spec.D)
    lowered = tuner.step.lower(
        model.params,
        (translators, optimiser.init(translators)),
        *on_device(batch),
        reach=batch.reach,
    )
    text, places = lowered.as_text(), batch.ids_BT.size
    # The blocks are even: 70 of 57 entries.
    assert f"{places}x{block}xf32" in text
    assert f"{places}x{V}x" not in text
    assert f"{model.spec.L}x{places}x{block}x" not in text
    assert lowered.compile().memory_analysis().temp_size_in_bytes < places * V * 4 / 5

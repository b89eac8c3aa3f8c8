"""The tuned lens: its definition, its loss, its training, its folder, and scoring through it."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from support.cases.classic import CASES as CLASSIC
from support.cases.core import CASES
from support.cases.gemmas import CASES as GEMMAS
from support.checkpoints import NEOX, jaxmap, make_checkpoint, score, write_texts
from support.parity import LENS_NATS, lens_rows, random_texts
from support.reference import lens_logp, make_model
from support.token_sets import make_tokens

from jaxmap.analysis.context import Context
from jaxmap.analysis.model_pairs import settings_of_models
from jaxmap.checkpoint import weights
from jaxmap.cli import program
from jaxmap.corpus.batches import batches, plan
from jaxmap.corpus.texts import load_texts
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens
from jaxmap.engine.translators import Translators
from jaxmap.engine.unembedding import Unembedding
from jaxmap.errors import InputError
from jaxmap.lens.loss import distribution, kl
from jaxmap.lens.seen_texts import TRAINED_TEXTS, count_seen
from jaxmap.lens.trainer import Training, Tuner, on_device, train_lens
from jaxmap.lens.tuned_lens import FACTS, TENSORS, find_lens, parse_lens, read_lens
from jaxmap.model.inputs import Inputs
from jaxmap.store import Store
from jaxmap.store.record import Identity, hash_facts
from jaxmap.store.requests import Item
from jaxmap.variant import Variant

# Definition --------------------------------------------------------------------------------------


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


# Loss --------------------------------------------------------------------------------------------


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


# Training ----------------------------------------------------------------------------------------


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


# The command line --------------------------------------------------------------------------------

TEXTS = [f"{word} and {word}, then {other}." for word in "abcdef" for other in ("x", "yes", "é")]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint, its lens made by the command line, and texts."""
    home = tmp_path_factory.mktemp("trained")
    model = make_checkpoint(home / "model", NEOX)
    texts = write_texts(home / "texts.jsonl", TEXTS)
    given = ("--steps=20", "--learning_rate=0.01", "--batch_tokens=512", "--held_out=0.2")
    ran = jaxmap(
        "lens", "train", f"--models={model}", f"--texts={texts}", f"--out={home / 'lenses'}",
        "--save_every=0.2", *given,
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert "jaxmap: " not in ran.err, "a program that talks while all is well"
    return home, model, texts, given, ran


def test_a_folder_that_says_what_it_is(trained):
    home, model, texts, given, ran = trained
    (folder,) = (home / "lenses").iterdir()
    assert {path.name for path in folder.iterdir()} == {FACTS, TENSORS, TRAINED_TEXTS}
    facts = json.loads((folder / FACTS).read_text())
    assert 0 < count_seen(read_lens(folder), load_texts(texts)) == facts["train_texts"]
    assert facts["ref"] == str(model)
    assert facts["commit"].startswith("sha256:")
    assert (facts["layers"], facts["width"], facts["vocabulary"]) == (2, 16, 300)
    assert "h + weight[i] @ h + bias[i]" in facts["definition"]
    assert facts["training"]["steps"] == 20
    held = facts["held_out"]
    assert (np.array(held["tuned"]) < held["logit"]).all()
    assert f"{held['tuned'][1]:.4f}" in ran.out
    assert "1 trained, 0 already done, 0 failed" in ran.out
    found = jaxmap(
        "lens", f"--models={model}", f"--texts={texts}", f"--out={home / 'lenses'}", *given
    )
    assert found.code == 0
    assert "0 trained, 1 already done, 0 failed" in found.out
    other = jaxmap(
        "lens", f"--models={model}", f"--texts={texts}", f"--out={home / 'lenses'}", "--steps=21"
    )
    assert other.code == 2
    assert "trained with" in other.messages[0]


def test_scored_beside_the_logit_lens(trained, tmp_path):
    home, model, texts, _, _ = trained
    store = tmp_path / "store"
    assert score(store, texts, model, lens="logit").code == 0
    before = {e.label: Store.open(store).load(e) for e in Store.open(store).records()}
    ran = score(store, texts, model, lens=f"tuned:{home / 'lenses'}")
    assert (ran.code, ran.out.split(",")[0]) == (0, "1 scored")
    [told] = [line for line in ran.messages if "was trained on" in line]
    assert told.startswith(f"--lens=tuned:{home / 'lenses'}: the tuned lens was trained on ")
    opened = Store.open(store)
    entries = {entry.label: entry for entry in opened.records()}
    layers = [f"#layer{i:02d}" for i in range(3)]
    plain = str(model)
    assert list(entries) == [
        plain, *(plain + layer for layer in layers), *(plain + "+tuned" + layer for layer in layers)
    ]  # fmt: skip
    rows = {label: opened.load(entry).log_likelihood for label, entry in entries.items()}
    for label, record in before.items():
        np.testing.assert_array_equal(rows[label], record.log_likelihood)
    np.testing.assert_array_equal(rows[f"{plain}+tuned#layer02"], rows[plain])
    for layer in layers[:2]:
        assert np.abs(rows[f"{plain}+tuned{layer}"] - rows[plain + layer]).max() > 0.1
    assert opened.dataset().lens.values.tolist() == ["", *["logit"] * 3, *["tuned"] * 3]

    again = score(store, texts, model, lens=f"tuned:{home / 'lenses'}")
    assert again.out.startswith("0 scored, 1 already done")
    assert not opened.missing()
    # The setting of adjacent layers is the logit lens', as published.
    setting = settings_of_models(Context(opened, ask=lambda ref: ())).settings["layer"]
    assert [entry.label for entry in setting.entries] == [plain + layer for layer in layers]

    lens = find_lens(home / "lenses", str(model), None)
    loaded = weights.load(model, dtype="float32")
    translators = Translators(*map(jnp.asarray, lens.read(lens.commit, 2, 16)))
    from jaxmap.corpus.tokens import load_tokenizer

    tokens = load_tokenizer(model).encode(load_texts(texts), 256)
    expected_RN = lens_rows(Scorers().of(loaded), loaded, tokens, lens=translators)
    for row, layer in zip(expected_RN, layers, strict=True):
        np.testing.assert_array_equal(rows[f"{plain}+tuned{layer}"], row)


def test_of_two_lenses_of_a_model_the_last_is_shown(trained, tmp_path):
    home, model, texts, _, _ = trained
    store, other = tmp_path / "store", tmp_path / "other"
    ran = jaxmap(
        "lens", f"--models={model}", f"--texts={texts}", f"--out={other}",
        "--steps=2", "--batch_tokens=512",
    )  # fmt: skip
    assert ran.code == 0
    shown = []
    for lenses in (home / "lenses", other):
        assert score(store, texts, model, lens=f"tuned:{lenses}").out.startswith("1 scored")
        opened = Store.open(store)
        tuned = {
            entry.identity.variant.tuned
            for entry in opened.records()
            if entry.identity.variant.tuned
        }
        assert len(opened.records()) == 4
        assert tuned == {find_lens(lenses, str(model), None).translators}
        shown += tuned
    assert shown[0] != shown[1]
    assert len(Store.open(store).superseded()) == 3
    assert not Store.open(store).missing()


class TestRefused:
    """With one line that says why, exit code 2."""

    def check(self, ran, words: str) -> None:
        assert ran.code == 2
        assert any(words in message for message in ran.messages), ran.messages

    def test_a_lens_of_other_weights(self, trained, tmp_path):
        home, _, texts, _, _ = trained
        (folder,) = (home / "lenses").iterdir()
        other = make_checkpoint(tmp_path / "other", NEOX, seed=1)
        ran = score(tmp_path / "store", texts, other, lens=f"tuned:{folder}")
        self.check(ran, "but the model to score is at sha256:")
        assert Store.open(tmp_path / "store").failures()[0].kind == "input"

    def test_a_lens_of_another_name(self, trained, tmp_path):
        home, _, texts, _, _ = trained
        other = make_checkpoint(tmp_path / "other", NEOX)
        ran = score(tmp_path / "store", texts, other, lens=f"tuned:{home / 'lenses'}")
        self.check(ran, "holds no tuned lens for")

    def test_a_lens_of_another_shape(self, trained):
        home, model, _, _, _ = trained
        lens = find_lens(home / "lenses", str(model), None)
        with pytest.raises(InputError, match="2 layers of width 16, but the model to score has 3"):
            lens.read(lens.commit, 3, 16)

    def test_changed_numbers(self, trained, tmp_path):
        home = trained[0]
        (folder,) = (home / "lenses").iterdir()
        for name in (FACTS, TENSORS):
            (tmp_path / name).write_bytes((folder / name).read_bytes())
        content = bytearray((tmp_path / TENSORS).read_bytes())
        content[-1] ^= 1
        (tmp_path / TENSORS).write_bytes(content)
        lens = read_lens(tmp_path)
        with pytest.raises(InputError, match="train it again"):
            lens.read(lens.commit, 2, 16)

    @pytest.mark.parametrize("value", ["tuned:", "tuned", "both"])
    def test_unknown_lens(self, value, trained, tmp_path):
        _, model, texts, _, _ = trained
        ran = score(tmp_path / "store", texts, model, lens=value)
        self.check(ran, f"--lens: {value!r} is neither logit nor tuned:DIR")

    def test_no_lenses_there(self, trained, tmp_path):
        _, model, texts, _, _ = trained
        ran = score(tmp_path / "store", texts, model, lens=f"tuned:{tmp_path / 'none'}")
        self.check(ran, "no such folder")

    def test_too_few_texts(self, trained, tmp_path):
        _, model, _, _, _ = trained
        texts = write_texts(tmp_path / "one.jsonl", ["a b c"])
        ran = jaxmap("lens", f"--models={model}", f"--texts={texts}", f"--out={tmp_path}")
        self.check(ran, "give more texts")

    def test_other_words(self):
        self.check(jaxmap("lens", "tame"), "unexpected argument 'tame'")


@pytest.mark.parametrize(
    ("given", "settings"),
    [
        ([], {"lens": False}),
        (["--lens"], {"lens": True}),
        (["--nolens"], {"lens": False}),
        (["--lens=true"], {"lens": True}),
        (["--lens=logit"], {"lens": True}),
        (["--lens=tuned:a/b"], {"lens": True, "tuned_lens": "a/b"}),
    ],
)
def test_the_flag_with_and_without_a_value(given, settings):
    assert parse_lens(program.parse("score", given).lens) == settings


def test_keys_of_stores_from_before_the_tuned_lens():
    """An empty field is no part of a key, so results and failures keep their files."""
    identity = Identity("a/b", None, "c", "t", "k", "none", Variant("float32", layer=3))
    old = dict(
        ref="a/b", revision=None, commit="c", texts="t", tokenizer="k", special_rule="none",
        dtype="float32", quantisation="none", layer=3,
    )  # fmt: skip
    assert identity.facts == old
    assert identity.key == hash_facts(old)
    assert Identity.of_facts(old) == identity
    item = Item("a/b", variant=Variant(lens="logit"))
    old = dict(ref="a/b", revision=None, dtype="auto", quantisation="none", lens=True)
    assert item.facts == old
    assert item.key == hash_facts(old)
    assert Item.of_facts(old) == item
    tuned = Item("a/b", variant=Variant(lens="0" * 64))
    assert tuned.key != item.key
    assert tuned.label == "a/b+tuned#lens"

"""The folder of a tuned lens, scoring through it, and what is refused."""

from __future__ import annotations

import json

import jax.numpy as jnp
import numpy as np
import pytest
from support.checkpoints import NEOX, jaxmap, make_checkpoint, score, write_texts
from support.parity import lens_rows

from jaxmap.analysis.context import Context
from jaxmap.analysis.model_pairs import settings_of_models
from jaxmap.checkpoint import weights
from jaxmap.cli import program
from jaxmap.corpus.texts import load_texts
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.translators import Translators
from jaxmap.errors import InputError
from jaxmap.lens.training_texts import TRAINED_TEXTS, count_seen
from jaxmap.lens.tuned_lens import FACTS, TENSORS, find_lens, parse_lens, read_lens
from jaxmap.store import Store
from jaxmap.store.record import Identity, hash_facts
from jaxmap.store.requests import Item
from jaxmap.variant import Variant

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

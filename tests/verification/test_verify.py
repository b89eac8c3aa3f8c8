"""`jaxmap verify`: agreement is said where there is agreement, and only there."""

from __future__ import annotations

import csv
import dataclasses
import re

import numpy as np
import pytest
from support import containers
from support.checkpoints import add_tokenizer, jaxmap, make_checkpoint, write_config, write_texts
from support.reference import lens_logp, make_model, text_logp

import jaxmap as package
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.errors import InputError
from jaxmap.pytorch.loading import load
from jaxmap.verification import verify as module
from jaxmap.verification.pytorch import TransformersModel

CONFIG = dict(
    model_type="llama",
    vocab_size=320,
    hidden_size=32,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=48,
    max_position_embeddings=64,
)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("verify") / "llama"
    model = make_model(CONFIG, folder)
    add_tokenizer(folder)
    return folder, model


@pytest.fixture
def texts(tmp_path):
    return write_texts(tmp_path / "texts.jsonl")


def test_the_reference_is_transformers_own(llama):
    folder, model = llama
    ids = np.random.default_rng(0).integers(0, 300, 23).astype(np.int32)
    reference = TransformersModel(folder, "float32")
    assert reference.score(ids, 1) == pytest.approx(text_logp(model, ids), abs=1e-4)
    assert reference.score(ids, 7) == pytest.approx(text_logp(model, ids, 7), abs=1e-4)
    np.testing.assert_allclose(reference.score_layers(ids, 1), lens_logp(model, ids), atol=2e-4)
    assert reference.score(ids[:1], 1) == 0


def test_agreement(llama, texts, tmp_path):
    out = tmp_path / "verify.csv"
    ran = jaxmap("verify", f"--models={llama[0]}", f"--texts={texts}", "--n=4", f"--out={out}")
    assert ran.code == 0
    assert "verdict: agrees with PyTorch" in ran.out
    assert "jaxmap is at least as near in" in ran.out
    with out.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * (1 + 3)
    assert len({row["text"] for row in rows}) == 4
    output = [row for row in rows if row["layer"] == ""]
    last = [row for row in rows if row["layer"] == "02"]
    for a, b in zip(output, last, strict=True):
        assert a["jaxmap"] == b["jaxmap"]
        assert abs(float(a["difference"])) < 2e-3
    for some in (output, last):
        assert sum(row["pytorch_float64"] != "nan" for row in some) == 3


def test_scores_of_tens_of_thousands_of_nats(llama, texts, tmp_path):
    """The first layers of a tied model with a large final norm (Gemma 3) repeat what they read.

    A unit in the last place of such a score is more than a small score may differ by.
    """
    import torch

    model = make_model({**CONFIG, "tie_word_embeddings": True}, tmp_path)
    add_tokenizer(tmp_path)
    with torch.no_grad():
        model.model.norm.weight.mul_(60)
        model.model.embed_tokens.weight.mul_(4)
        for layer in model.model.layers:
            layer.mlp.down_proj.weight.mul_(0.05)
    model.save_pretrained(tmp_path)
    found = package.verify(tmp_path, texts, n=3, double=1)
    (one,) = found.verified
    assert found.agrees
    assert one.theirs_LN[0].min() < -10_000
    assert one.worst_layer < 0.1
    assert not np.isnan(one.exact_LN[:, 0]).any()
    assert np.isnan(one.exact_LN[:, 1:]).all()
    assert re.search(r"at layer 0\d, where the text scores -\d", found.text())
    assert "layers from float64: jaxmap" in found.text()
    # A wrong model is far beyond: one part in ten thousand of layer 0.
    wrong = dataclasses.replace(one, ours_LN=one.ours_LN * np.array([[1.0001], [1], [1]]))
    assert not wrong.agrees
    assert wrong.of_layers.argmax() == 0


@pytest.mark.parametrize(
    ("kind", "of"),
    [
        ("qwen2_audio", "Qwen2AudioForConditionalGeneration"),
        pytest.param(
            "audioflamingo3", "AudioFlamingo3ForConditionalGeneration", marks=pytest.mark.slow
        ),
        pytest.param("vipllava", "VipLlavaForConditionalGeneration", marks=pytest.mark.slow),
    ],
)
def test_a_language_model_beside_other_parts(kind, of, texts, tmp_path):
    """transformers' class of the whole checkpoint is the reference, given text alone."""
    config = containers.case(kind)
    config["text_config"]["vocab_size"] = CONFIG["vocab_size"]
    folder = tmp_path / "audio"
    make_model(config, folder)
    add_tokenizer(folder)
    ran = jaxmap("verify", f"--models={folder}", f"--texts={texts}", "--n=2")
    assert ran.code == 0
    assert "verdict: agrees with PyTorch" in ran.out
    assert type(load(Checkpoint(folder)).module).__name__ == of


def test_a_difference_fails(llama, texts, monkeypatch):
    """A model that PyTorch would compute otherwise: here it is given another one."""
    real = module._ours

    def wrong(*arguments):
        found = real(*arguments)
        found[-1, 1] += 0.05
        return found

    monkeypatch.setattr(module, "_ours", wrong)
    ran = jaxmap("verify", f"--models={llama[0]}", f"--texts={texts}", "--n=4")
    assert ran.code == 1
    assert "DIFFERS from PyTorch: a text is off by" in ran.out


def test_a_layer_that_differs_fails(llama, texts, monkeypatch):
    real = module._ours

    def wrong(*arguments):
        found = real(*arguments)
        if len(found) > 1:
            found[1, 0] += 0.05
        return found

    monkeypatch.setattr(module, "_ours", wrong)
    found = package.verify(llama[0], texts, n=3, double=0)
    assert not found.agrees
    assert found.verified[0].worst <= 1 < found.verified[0].worst_layer
    assert package.verify(llama[0], texts, n=3, double=0, lens=False).agrees


def test_what_cannot_be_loaded_is_named_and_the_others_go_on(llama, texts, tmp_path):
    other = tmp_path / "other"
    make_checkpoint(other)
    write_config(other, {**CONFIG, "model_type": "internlm2"})
    ran = jaxmap("verify", f"--models={other},{llama[0]}", f"--texts={texts}", "--n=2", "--nolens")
    assert ran.code == 2
    [line] = [line for line in ran.messages if line.startswith(f"{other}: missing tensors")]
    assert line not in ran.out  # it is printed once
    assert "agrees with PyTorch" in ran.out


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (dict(n=0), "0 is too few"),
        (dict(double=-1), "-1 is too few"),
        (dict(out="table.json"), "use one of .csv"),
    ],
)
def test_bad_parameters(llama, texts, parameters, message):
    with pytest.raises(InputError, match=message):
        package.verify(llama[0], texts, **parameters)

"""Layers of a model beside a reference, through the logit lens and a tuned lens."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from support.checkpoints import (
    LLAMA,
    bytes_tokenizer_json,
    jaxmap,
    make_checkpoint,
    watch,
    write_texts,
)

import jaxmap as package
from jaxmap.checkpoint import weights
from jaxmap.corpus.tokens import load_tokenizer
from jaxmap.figures import kl_by_layer


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A reference, a model of three layers, and the texts."""
    root = tmp_path_factory.mktemp("layers")
    make_checkpoint(root / "reference", LLAMA, seed=1, max_position_embeddings=64)
    make_checkpoint(root / "model", LLAMA, seed=2, max_position_embeddings=64, num_hidden_layers=3)
    write_texts(root / "texts.jsonl")
    return root


def log_softmax(logits_TV):
    top_T1 = logits_TV.max(-1, keepdims=True)
    return logits_TV - top_T1 - np.log(np.exp(logits_TV - top_T1).sum(-1, keepdims=True))


def by_hand(root):
    """The mean over tokens of KL(reference || layer), of each layer, from full logits."""
    from flax import nnx

    from jaxmap.model.inputs import Inputs

    texts = package.load_texts(root / "texts.jsonl")
    tokens = load_tokenizer(root / "model").encode(texts, 64)
    decoders = []
    for name in ("reference", "model"):
        model = weights.load(root / name, dtype="float32")
        decoders.append(nnx.merge(model.graph, model.params))
    theirs, ours = decoders
    total_R, count = 0.0, 0
    for n in range(len(tokens)):
        ids = tokens.ids[tokens.offsets[n] : tokens.offsets[n + 1]]
        if len(ids) < 2:
            continue
        p_TV = log_softmax(np.asarray(theirs.logits(ids[None])[0, :-1], np.float64))
        inputs = Inputs.from_ids(ids[None])

        def read(x_BTD, inputs=inputs):
            return ours.unembedded(x_BTD, inputs) @ ours.head_VE.T

        x_BTD, taps = ours.residual(inputs, read=read)
        layers = [*np.asarray(taps), np.asarray(read(x_BTD))]
        q_RTV = [log_softmax(one[0, :-1].astype(np.float64)) for one in layers]
        total_R = total_R + np.array([(np.exp(p_TV) * (p_TV - q_TV)).sum() for q_TV in q_RTV])
        count += len(ids) - 1
    return total_R / count


def test_layers_against_full_logits(place, tmp_path, monkeypatch):
    """A row for each layer and one for the output, in one pass; later ones are read."""
    store = tmp_path / "store"
    asked = dict(reference=place / "reference", quantize="none,nf4", lens="logit")
    loads = watch(monkeypatch)
    found = package.compare(place / "model", place / "texts.jsonl", store, **asked)
    found.raise_for_failures()
    assert loads.count("model") == loads.count("reference")
    assert [one.layer for one in found.compared] == [None, 0, 1, 2, None]
    assert [one.row.model.rpartition("/")[2] for one in found.compared] == [
        "model", "model#layer00", "model#layer01", "model#layer02", "model+nf4",
    ]  # fmt: skip
    expected_R = by_hand(place)
    rows = [one.row.token_kl_nats for one in found.compared[:4]]
    np.testing.assert_allclose([*rows[1:], rows[0]], expected_R, rtol=2e-5)
    assert len(set(np.round(expected_R, 4))) == 4
    loads.clear()
    again = package.compare(place / "model", place / "texts.jsonl", store, **asked)
    assert (again.found, loads) == (found.found, [])
    # The output alone, as it is without a lens.
    plain = package.compare(
        place / "model", place / "texts.jsonl", tmp_path / "plain", reference=place / "reference"
    )
    assert plain.found[0].token_kl_nats == pytest.approx(rows[0], rel=1e-5)
    # Layers of a model whose output is there already.
    later = package.compare(
        place / "model", place / "texts.jsonl", tmp_path / "plain",
        reference=place / "reference", lens=True,
    )  # fmt: skip
    assert later.found[0] == plain.found[0]
    assert [one.layer for one in later.compared] == [None, 0, 1, 2]


def test_layers_on_the_command_line(place, tmp_path):
    """Layers stand in the table and a figure of their own, and not among the sizes."""
    store, out = tmp_path / "store", tmp_path / "out"
    flags = [
        f"--store={store}", f"--texts={place / 'texts.jsonl'}", f"--out={out}",
        f"--reference={place / 'reference'}", f"--models={place / 'model'}", "--lens=logit",
    ]  # fmt: skip
    assert jaxmap("compare", *flags).code == 0
    with (out / "compare.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["model"].rpartition("#")[2] for row in rows[1:]] == [
        "layer00",
        "layer01",
        "layer02",
    ]
    card = package.card(store, out=out)
    assert [one.layer for one in card.compared] == [None, 0, 1, 2]
    assert set(card.draw()) == {"kl_by_layer"}
    [line] = kl_by_layer.layers_of(card).values()
    assert [layer for layer, _ in line] == [0, 1, 2, 3]
    assert (out / "kl_by_layer.png").stat().st_size > 5000
    bad = jaxmap("compare", *flags[:-1], "--lens=other")
    assert (bad.code, "--lens: 'other' is neither logit nor tuned:DIR" in bad.err) == (2, True)
    none = jaxmap("compare", *flags[:-1], f"--lens=tuned:{tmp_path}")
    assert (none.code, "holds no tuned lens for" in none.err) == (2, True)


def test_a_tuned_lens(place, tmp_path):
    """Its layers have names of their own, and other numbers than the logit lens's."""
    texts, lenses = place / "texts.jsonl", tmp_path / "lenses"
    package.train_lens(place / "model", texts, lenses, steps=3, held_out=0.3)
    found = {}
    for lens in ("logit", f"tuned:{lenses}"):
        one = package.compare(
            place / "model", texts, tmp_path / "store", reference=place / "reference", lens=lens
        )
        one.raise_for_failures()
        found[lens.partition(":")[0]] = one.found
    assert [row.model.rpartition("/")[2] for row in found["tuned"]] == [
        "model", "model+tuned#layer00", "model+tuned#layer01", "model+tuned#layer02",
    ]  # fmt: skip
    assert found["tuned"][0] == found["logit"][0]
    for tuned, logit in zip(found["tuned"][1:], found["logit"][1:], strict=True):
        assert tuned.token_kl_nats != logit.token_kl_nats


def test_layers_of_a_model_with_other_tokens(place, tmp_path):
    """Log-probabilities of the layers between bytes where tokens of both end."""
    other = tmp_path / "other"
    make_checkpoint(other, LLAMA, seed=3, max_position_embeddings=64)
    (other / "tokenizer.json").write_text(bytes_tokenizer_json())
    found = package.compare(
        other, place / "texts.jsonl", tmp_path / "store", reference=place / "reference", lens=True
    )
    found.raise_for_failures()
    layers = [one for one in found.compared if one.layer is not None]
    assert len(layers) == 2
    package.score(other, place / "texts.jsonl", tmp_path / "scores", lens=True)
    store = package.open_store(tmp_path / "scores")
    num_bytes = package.load_texts(place / "texts.jsonl").num_bytes.sum()
    of_layer = {
        entry.variant.layer: -store.load(entry).log_likelihood.sum() / num_bytes / np.log(2)
        for entry in store.records()
    }
    for one in layers:
        assert one.row.bits_per_byte == pytest.approx(of_layer[one.layer], rel=1e-6)
        assert one.other_tokens

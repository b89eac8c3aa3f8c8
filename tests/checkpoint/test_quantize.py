"""Quantised copies: scores against float implementations, neighbours, what is quantised."""

from __future__ import annotations

# First: it must be set up before torch is imported.
from support import quantised_reference  # isort: skip
import copy
import math

import numpy as np
import pytest
import torch
from flax import nnx
from support.cases.classic import CASES as CLASSIC
from support.cases.core import CASES
from support.cases.llama_successors import CASES as MODERN
from support.checkpoints import LLAMA, jaxmap, make_checkpoint, score, write_texts
from support.reference import make_model, text_logp
from support.token_sets import make_tokens

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.quantize import quantised
from jaxmap.corpus.batches import batches, plan
from jaxmap.engine.scorer import Scorers
from jaxmap.engine.scores import score_tokens
from jaxmap.errors import InputError
from jaxmap.model.decoder import named
from jaxmap.model.encodings.four_bit import CODES
from jaxmap.store import Store

NATS = 1e-2

random = np.random.default_rng(7)

WIDTHS = [119, 1, 64, 0, 41, 40, 2, 90, 13]

TEXTS = [random.integers(0, 97, n).astype(np.int32) for n in WIDTHS]

CUT = [random.integers(0, 97, 60).astype(np.int32) for _ in range(12)]

NAMES = ["gpt_neox", "gpt2", "llama", "llama-biases", "phi3"]  # fused, transposed, apart, cut


def scores(model, texts=TEXTS) -> np.ndarray:
    return score_tokens(Scorers().of(model), model, make_tokens(texts), batch_tokens=512)


@pytest.mark.parametrize("name", NAMES)
def test_4_bit_scores(name, tmp_path):
    reference = make_model({**CASES, **MODERN}[name], tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    own_N = scores(model)
    for code in CODES:
        theirs = quantised_reference.quantise(copy.deepcopy(reference), code)
        ours_N = scores(quantised(model, code))
        np.testing.assert_allclose(
            ours_N, [text_logp(theirs, ids) for ids in TEXTS], rtol=0, atol=NATS
        )
        assert np.abs(ours_N - own_N).max() > 1


EVERY = {**MODERN, **CLASSIC, **CASES}

ONE_OF_EACH = {config["model_type"]: name for name, config in reversed(EVERY.items())}


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ONE_OF_EACH.values(), "opt-projected"])
def test_4_bit_scores_of_every_family(name, tmp_path):
    reference = make_model(EVERY[name], tmp_path)
    ours_N = scores(quantised(weights.load(tmp_path, dtype="float32"), "nf4"), CUT[:2])
    theirs = quantised_reference.quantise(reference, "nf4")
    np.testing.assert_allclose(ours_N, [text_logp(theirs, t) for t in CUT[:2]], rtol=0, atol=NATS)


def with_outliers(reference, folder) -> None:
    """Makes the last ids of the vocabulary drive a feature beyond 6 in every layer's input."""
    with torch.no_grad():
        reference.get_input_embeddings().weight[90:, 5] = 40
    reference.save_pretrained(folder)


@pytest.mark.parametrize("name", ["gpt_neox", "gpt2", "llama"])
def test_int8_scores(name, tmp_path):
    reference = make_model(CASES[name], tmp_path)
    with_outliers(reference, tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    theirs = quantised_reference.quantise(copy.deepcopy(reference), "int8")
    texts = [ids[:30] % 90 if i % 2 else ids[30:] for i, ids in enumerate(CUT)]
    ours_N, own_N = scores(quantised(model, "int8"), texts), scores(model, texts)
    expected_N = np.array([text_logp(theirs, ids) for ids in texts])
    # Where rounding in float32 takes one activation over the edge between two codes, a text moves
    # by a part of what quantisation does to it: seen in one short text of twelve.
    difference_N = np.abs(ours_N - expected_N)
    same_N = difference_N < 1e-3
    assert same_N.mean() >= 0.6
    moved_N = np.abs(ours_N - own_N)
    assert difference_N.max() < moved_N.max()
    assert np.median(moved_N[same_N]) > 0.01


@pytest.mark.parametrize("variant", ["int8", "nf4"])
def test_neighbours_change_nothing(variant, tmp_path):
    """Texts with outlier columns in the same row do not give theirs to others."""
    reference = make_model(CASES["gpt_neox"], tmp_path)
    with_outliers(reference, tmp_path)
    model = quantised(weights.load(tmp_path, dtype="float32"), variant)
    calm = [random.integers(0, 90, 60).astype(np.int32) for _ in range(3)]
    wild = [random.integers(90, 97, 60).astype(np.int32) for _ in range(3)]
    among_N = scores(model, [text for pair in zip(calm, wild, strict=True) for text in pair])
    alone_N = scores(model, calm)
    np.testing.assert_allclose(among_N[::2], alone_N, rtol=0, atol=1e-4)


def test_4_bit_weights_stay_packed(tmp_path):
    """Half a byte a weight and 4 bytes a block, and no more than a layer of it unpacked at once."""
    config = {**CASES["gpt_neox"], "num_hidden_layers": 24, "hidden_size": 128}
    reference = make_model({**config, "intermediate_size": 500}, tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    linear = quantised_reference.linear_layers(reference).values()
    sizes = [layer.weight.numel() for layer in linear]
    expected = sum(math.ceil(size / 2) + 4 * math.ceil(size / 64) for size in sizes)
    copied = quantised(model, "nf4")

    def held(model) -> dict[str, int]:
        return {
            path: sum(shard.data.nbytes for shard in leaf[...].addressable_shards)
            for path, leaf in named(model.params).items()
        }

    before, after = held(model), held(copied)
    assert sum(n for path, n in before.items() if path.endswith("/kernel")) == 4 * sum(sizes)
    assert sum(n for path, n in after.items() if path not in before) == expected
    assert not any(path.endswith("/kernel") for path in after)
    assert expected < 4 * sum(sizes) / 7

    tokens = make_tokens([np.arange(20, dtype=np.int32)])
    batch = next(batches(tokens, plan(tokens, batch_tokens=128)))
    memory = Scorers().of(copied).lower(copied.params, batch).compile().memory_analysis()
    assert memory.argument_size_in_bytes < sum(after.values()) + 10_000
    layer = 4 * sum(sizes) / 24
    assert memory.temp_size_in_bytes < 6 * layer < 4 * sum(sizes) / 3


def test_what_is_quantised(tmp_path):
    """The linear layers that transformers would take, and nothing else."""
    reference = make_model(CASES["gpt_neox"], tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    decoder = nnx.merge(model.graph, quantised(model, "none").params)
    before = dict(named(nnx.state(decoder)))
    after = named(quantised(model, "int8").params)
    for path, leaf in before.items():
        if path in after:
            np.testing.assert_array_equal(leaf[...], after[path][...])
    changed = sum(leaf[...].size for path, leaf in before.items() if path not in after)
    linear = quantised_reference.linear_layers(reference)
    assert changed == sum(layer.weight.numel() for layer in linear.values())
    assert not any("embed" in name or "lm_head" in name for name in linear)


def test_weights_beyond_float16(tmp_path):
    reference = make_model(CASES["gpt_neox"], tmp_path)
    with torch.no_grad():
        reference.gpt_neox.layers[1].mlp.dense_4h_to_h.weight[0, 0] = 1e6
    reference.save_pretrained(tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    with pytest.raises(InputError, match=r"dense_4h_to_h.* overflow float16"):
        quantised(model, "int8")


def test_variants_of_one_visit(tmp_path, monkeypatch):
    folder, store = make_checkpoint(tmp_path / "model", LLAMA), tmp_path / "store"
    texts = write_texts(tmp_path / "texts.jsonl")
    loads = []
    load = weights.load
    monkeypatch.setattr(weights, "load", lambda *a, **k: loads.append(a) or load(*a, **k))
    assert score(store, texts, folder, quantize="none,nf4").code == 0
    assert len(loads) == 1
    assert score(store, texts, folder, quantize="nf4,none").code == 0
    assert len(loads) == 1  # nothing is missing
    ran = score(store, texts, folder, quantize="none,int8,nf4,fp4", lens=True)
    assert ran.code == 0
    assert len(loads) == 2
    entries = [e for e in Store.open(store).records() if e.identity.variant.layer is None]
    assert [e.label for e in entries] == [f"{folder}{v}" for v in ("", "+fp4", "+int8", "+nf4")]
    vectors = Store.open(store).log_likelihoods(entries)
    gaps = np.abs(vectors[1:] - vectors[0]).max(1)
    assert gaps.min() > 1e-3
    assert gaps[1] < min(gaps[0], gaps[2])  # 8 bit is nearer than 4
    layers = [e for e in Store.open(store).records() if e.identity.variant.layer is not None]
    assert {e.identity.variant.quantisation for e in layers} == {"none"}


def test_one_variant_fails(tmp_path, monkeypatch):
    from jaxmap.sweeps import checkpoint_scorer

    real = checkpoint_scorer.quantised

    def broken(model, variant):
        if variant == "int8":
            raise InputError("cannot")
        return real(model, variant)

    monkeypatch.setattr(checkpoint_scorer, "quantised", broken)
    folder, store = make_checkpoint(tmp_path / "model", LLAMA), tmp_path / "store"
    texts = write_texts(tmp_path / "texts.jsonl")
    assert score(store, texts, folder, quantize="none,int8,fp4").code == 2
    opened = Store.open(store)
    assert [e.identity.variant.quantisation for e in opened.records()] == ["none", "fp4"]
    [failure] = opened.failures()
    assert (failure.item.variant.quantisation, failure.reason) == ("int8", "cannot")


def test_unknown_variant(tmp_path):
    folder = make_checkpoint(tmp_path / "model", LLAMA)
    texts = write_texts(tmp_path / "texts.jsonl")
    ran = jaxmap(
        *("score", f"--store={tmp_path / 'store'}", f"--texts={texts}", f"--models={folder}"),
        "--quantize=none,int4",
    )
    assert ran.code == 2
    assert "--quantize: 'int4' is unknown; known: none, int8, nf4, fp4" in str(ran)
    assert not (tmp_path / "store").exists()

"""8-bit and 4-bit copies against bitsandbytes' CPU functions and PyTorch models made with them."""

from __future__ import annotations

# First: it must be set up before torch is imported.
from support import quantised_reference  # isort: skip

import copy
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from bitsandbytes import functional
from flax import nnx
from support.cases.classic import CASES as CLASSIC
from support.cases.core import CASES
from support.cases.experts import CASES as EXPERTS
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
from jaxmap.model.encodings.four_bit import CODES, pack, unpack
from jaxmap.model.encodings.int8 import int8_product, quantise_rows
from jaxmap.store import Store

NATS = 1e-2
random = np.random.default_rng(7)
WIDTHS = [119, 1, 64, 0, 41, 40, 2, 90, 13]
TEXTS = [random.integers(0, 97, n).astype(np.int32) for n in WIDTHS]
CUT = [random.integers(0, 97, 60).astype(np.int32) for _ in range(12)]
NAMES = ["gpt_neox", "gpt2", "llama", "llama-biases", "phi3"]  # fused, transposed, apart, cut


def scores(model, texts=TEXTS) -> np.ndarray:
    return score_tokens(Scorers().of(model), model, make_tokens(texts), batch_tokens=512)


# Numbers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", CODES)
def test_code_tables(code):
    theirs = functional.get_4bit_type(code, device="cpu").numpy()
    np.testing.assert_array_equal(CODES[code], theirs)


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("shape", [(1, 64), (300, 64), (144, 48), (37, 51), (5, 1), (1, 1)])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_blocks(code, shape, dtype):
    weight = random.standard_t(3, shape) * 0.02
    weight[:, 3::7] = 0
    if shape == (300, 64):
        weight[5] = 0  # a block of zeros
        # The middle between two values of the table, and its neighbours.
        value = np.sort(CODES[code])
        middle = (value[1:] + value[:-1]) / 2
        middle = middle[middle != 0]  # after 0 come numbers that XLA takes for 0
        more = np.nextafter(middle, np.float32(2))
        weight[6, : len(middle)], weight[6, 20 : 20 + len(more)], weight[6, 63] = middle, more, 1
    weight = weight.astype(dtype)
    packed, scale, values = quantised_reference.four_bit(torch.from_numpy(weight), code)
    ours = jax.jit(pack, static_argnums=1)(jnp.asarray(weight).reshape(-1), code)
    np.testing.assert_array_equal(ours[0], packed)
    np.testing.assert_array_equal(ours[1], scale)
    again = unpack(*ours, code, weight.size).astype(dtype)
    np.testing.assert_array_equal(np.asarray(again).reshape(shape), values.numpy())
    assert ours[0].nbytes == math.ceil(weight.size / 2)


def test_int8_weights():
    weight = random.normal(size=(500, 48)) * random.lognormal(size=(500, 1)) * 0.1
    weight[3] = 0
    codes, absmax, _ = functional.int8_vectorwise_quant(torch.from_numpy(weight[:3]).half())
    ours = jax.jit(quantise_rows)(jnp.asarray(weight, jnp.float32))
    np.testing.assert_array_equal(ours[0][:3], codes)
    np.testing.assert_array_equal(ours[1][:3], absmax)
    rest, rest_absmax, _ = functional.int8_vectorwise_quant(torch.from_numpy(weight[4:]).half())
    np.testing.assert_array_equal(ours[0][4:], rest)
    np.testing.assert_array_equal(ours[1][4:], rest_absmax)
    assert not np.asarray(ours[0][3]).any()  # PyTorch casts 0 / 0, undefined, to an integer


def int8_oracle(x_NI, codes_OI, absmax_O, texts) -> np.ndarray:
    """LLM.int8() in NumPy, one text after another; exact but for float16 before the codes."""
    y_NO = np.empty((len(x_NI), len(codes_OI)))
    for text in texts:
        half = x_NI[text].astype(np.float16).astype(np.float64)
        apart = (np.abs(half) >= 6).any(0)
        absmax = np.where(np.abs(half) >= 6, 0, np.abs(half)).max(1, keepdims=True)
        # In float32 and this order: where a value is half the largest, the last bit decides.
        scale = np.float32(1) / absmax.astype(np.float32) * np.float32(127)
        codes = np.rint(half[:, ~apart].astype(np.float32) * scale).astype(np.float64)
        weight = codes_OI.astype(np.float64) * absmax_O[:, None] / 127
        y_NO[text] = codes * (absmax / 127) @ weight[:, ~apart].T
        y_NO[text] += x_NI[text][:, apart] @ weight[:, apart].T
    return y_NO


def test_int8_product():
    x_NI = random.normal(size=(60, 48)).astype(np.float32)
    # Three texts: none, one and two outlier columns; 6 itself is one, a bit less is not.
    x_NI[0, 3], x_NI[25, 5], x_NI[45, 7], x_NI[50, 5] = 5.99, -40, 6, 9
    texts = [slice(0, 20), slice(20, 40), slice(40, 60)]
    first_N = jnp.asarray(np.repeat([0, 20, 40], 20))
    codes_OI, absmax_O = quantise_rows(jnp.asarray(random.normal(size=(30, 48)), jnp.float32))
    y_NO = jax.jit(int8_product)(jnp.asarray(x_NI), codes_OI, absmax_O, first_N)
    expected_NO = int8_oracle(x_NI, np.asarray(codes_OI), np.asarray(absmax_O), texts)
    np.testing.assert_allclose(y_NO, expected_NO, rtol=0, atol=3e-5)

    layer = quantised_reference.Int8(torch.zeros(30, 48), None)
    layer.codes, layer.absmax = torch.tensor(np.asarray(codes_OI)), torch.tensor(absmax_O.tolist())
    for text in texts:
        theirs = layer(torch.from_numpy(x_NI[text])).numpy()
        np.testing.assert_allclose(y_NO[text], theirs, rtol=0, atol=3e-5)
    # To be wrong about the columns would show.
    one_text = jax.jit(int8_product)(jnp.asarray(x_NI), codes_OI, absmax_O, first_N * 0)
    assert np.abs(one_text - y_NO).max() > 1e-2


@pytest.mark.parametrize("count", [0, 1, 32, 33, 47])
def test_int8_product_with_many_outliers(count):
    """However many columns are kept out of 8 bit, the numbers are the same."""
    x_NI = random.normal(size=(40, 48)).astype(np.float32)
    x_NI[3, :count] = 9
    codes_OI, absmax_O = quantise_rows(jnp.asarray(random.normal(size=(30, 48)), jnp.float32))
    first_N = jnp.asarray(np.repeat([0, 20], 20))
    y_NO = jax.jit(int8_product)(jnp.asarray(x_NI), codes_OI, absmax_O, first_N)
    texts = [slice(0, 20), slice(20, 40)]
    expected_NO = int8_oracle(x_NI, np.asarray(codes_OI), np.asarray(absmax_O), texts)
    np.testing.assert_allclose(y_NO, expected_NO, rtol=0, atol=1e-3)


# Models ------------------------------------------------------------------------------------------


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


# Experts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "code"), [("mixtral", "nf4"), ("gpt_oss", "fp4")])
def test_4_bit_experts(name, code, tmp_path):
    reference = make_model(EXPERTS[name], tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    own_N, ours_N = scores(model, CUT[:3]), scores(quantised(model, code), CUT[:3])
    theirs = quantised_reference.quantise(reference, code)
    np.testing.assert_allclose(ours_N, [text_logp(theirs, t) for t in CUT[:3]], rtol=0, atol=NATS)
    assert np.abs(ours_N - own_N).max() > 10 * NATS


EXPERTS_OF_EACH = {config["model_type"]: name for name, config in reversed(EXPERTS.items())}


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["nf4", "int8"])
@pytest.mark.parametrize("name", EXPERTS_OF_EACH.values())
def test_experts_of_every_family(name, variant, tmp_path):
    reference = make_model(EXPERTS[name], tmp_path)
    ours_N = scores(quantised(weights.load(tmp_path, dtype="float32"), variant), CUT[:4])
    theirs = quantised_reference.quantise(reference, variant)
    difference_N = np.abs(ours_N - [text_logp(theirs, t) for t in CUT[:4]])
    # See test_int8_scores: an activation may be rounded to the other of two codes.
    assert (difference_N < NATS).mean() >= (0.5 if variant == "int8" else 1), difference_N


def test_int8_experts(tmp_path):
    """Outliers of one text and expert keep their columns out of 8 bit, and no others do."""
    reference = make_model(EXPERTS["mixtral"], tmp_path)
    with_outliers(reference, tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    texts = [ids[:30] % 90 if i % 2 else ids[30:] for i, ids in enumerate(CUT[:8])]
    ours_N, own_N = scores(quantised(model, "int8"), texts), scores(model, texts)
    theirs = quantised_reference.quantise(copy.deepcopy(reference), "int8")
    difference_N = np.abs(ours_N - [text_logp(theirs, ids) for ids in texts])
    same_N = difference_N < 1e-3
    assert same_N.mean() >= 0.6, difference_N
    moved_N = np.abs(ours_N - own_N)
    assert difference_N.max() < moved_N.max()
    assert np.median(moved_N[same_N]) > 0.01


def test_what_of_experts_is_quantised(tmp_path):
    """Every expert and the shared one with its gate; held in half a byte a weight and scales."""
    reference = make_model(EXPERTS["qwen2_moe"], tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    before, after = named(model.params), named(quantised(model, "nf4").params)
    gone = {path.split("/", 2)[2] for path in before if path not in after}
    assert gone == {
        *(f"mlp/expert_{part}/kernel" for part in ("gate", "up", "down")),
        *(f"mlp/shared/{part}/kernel" for part in ("gate", "up", "down")),
        *(f"attn/{part}/kernel" for part in "qkvo"),
        "mlp/shared_gate/kernel",
    }
    sizes = [
        layer.weight.numel() for layer in quantised_reference.linear_layers(reference).values()
    ]
    for experts in quantised_reference.routed_experts(reference).values():
        E, twice, D = experts.gate_up_proj.shape
        sizes += [D * twice // 2] * 3 * E
    held = sum(leaf[...].nbytes for path, leaf in after.items() if path not in before)
    assert held == sum(math.ceil(size / 2) + 4 * math.ceil(size / 64) for size in sizes)


def test_experts_in_any_file(tmp_path):
    """A file that holds all experts of a layer together gives the same copies."""
    reference = make_model(EXPERTS["mixtral"], tmp_path / "apart")
    reference.save_pretrained(tmp_path / "together", save_original_format=False)
    one, other = (
        named(quantised(weights.load(tmp_path / way, dtype="float32"), "nf4").params)
        for way in ("apart", "together")
    )
    for path, leaf in one.items():
        np.testing.assert_array_equal(leaf[...], other[path][...], err_msg=path)


def test_weights_beyond_float16(tmp_path):
    reference = make_model(CASES["gpt_neox"], tmp_path)
    with torch.no_grad():
        reference.gpt_neox.layers[1].mlp.dense_4h_to_h.weight[0, 0] = 1e6
    reference.save_pretrained(tmp_path)
    model = weights.load(tmp_path, dtype="float32")
    with pytest.raises(InputError, match=r"dense_4h_to_h.* overflow float16"):
        quantised(model, "int8")


# The command -------------------------------------------------------------------------------------


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

"""A reference that is read one layer at a time gives the numbers of one that is in memory."""

from __future__ import annotations

import numpy as np
import pytest
from support.checkpoints import (
    LLAMA,
    bytes_tokenizer_json,
    make_checkpoint,
    watch,
    write_texts,
)

import jaxmap as package
from jaxmap.checkpoint import weights
from jaxmap.comparison import reference as of_reference
from jaxmap.corpus.batches import plan
from jaxmap.corpus.tokens import load_tokenizer
from jaxmap.engine import layer_by_layer
from jaxmap.engine.reference import ReferenceModel
from jaxmap.engine.scorer import Scorers
from jaxmap.errors import InputError

# Layers of two kinds that alternate, experts in tensors of their own, windows by layer, two ends.
SHAPES = {
    "llama": dict(num_hidden_layers=3),
    "qwen3_moe": dict(
        model_type="qwen3_moe", num_hidden_layers=4, num_experts=4, num_experts_per_tok=2,
        moe_intermediate_size=16, head_dim=8, mlp_only_layers=[1, 3], decoder_sparse_step=1,
        norm_topk_prob=True,
    ),
    "gemma2": dict(
        model_type="gemma2", num_hidden_layers=3, head_dim=8, sliding_window=8,
        query_pre_attn_scalar=8, final_logit_softcapping=5.0, attn_logit_softcapping=9.0,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        tie_word_embeddings=True,
    ),
    "opt": dict(
        model_type="opt", vocab_size=LLAMA["vocab_size"], hidden_size=16, num_hidden_layers=2,
        num_attention_heads=2, ffn_dim=24, word_embed_proj_dim=8, do_layer_norm_before=True,
    ),
    # Experts beside a dense MLP, in one tensor.
    "gemma4_text": dict(
        model_type="gemma4_text", num_hidden_layers=3, head_dim=8, global_head_dim=16,
        sliding_window=8, layer_types=["sliding_attention", "full_attention", "full_attention"],
        hidden_size_per_layer_input=0, enable_moe_block=True, num_experts=3, top_k_experts=2,
        moe_intermediate_size=12,
    ),
    # Weights of no layer that layers read.
    "zamba2": dict(
        model_type="zamba2", vocab_size=LLAMA["vocab_size"], hidden_size=16, num_hidden_layers=4,
        layers_block_type=["hybrid", "mamba", "hybrid", "hybrid"], num_mem_blocks=2,
        num_attention_heads=2, intermediate_size=24, adapter_rank=3, n_mamba_heads=4,
        mamba_d_state=6,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A reference of three layers, a model, and the texts."""
    root = tmp_path_factory.mktemp("by_layer")
    make_checkpoint(
        root / "reference", LLAMA, seed=1, max_position_embeddings=64, num_hidden_layers=3
    )
    make_checkpoint(root / "model", LLAMA, seed=2, max_position_embeddings=64)
    write_texts(root / "texts.jsonl")
    return root


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        *((shape, "float32") for shape in SHAPES if shape != "zamba2"),
        ("llama", "bfloat16"),
        pytest.param("zamba2", "float32", marks=pytest.mark.slow),
    ],
)
def test_states_are_those_of_the_whole_model(tmp_path, shape, dtype):
    folder = tmp_path / "model"
    shared = {} if shape in ("opt", "zamba2") else LLAMA
    make_checkpoint(folder, {**shared, "max_position_embeddings": 64, **SHAPES[shape]}, seed=4)
    texts = package.load_texts(write_texts(tmp_path / "texts.jsonl"))
    tokens = load_tokenizer(folder).encode(texts, 64)
    model = weights.load(folder, dtype=dtype)
    whole = ReferenceModel(Scorers().of(model), model)
    packed = plan(tokens, batch_tokens=256, width=model.spec.D)
    with weights.opened(folder) as found:
        one = layer_by_layer.LayerByLayer(found, dtype)
        assert one.states_dtype == np.dtype(whole.unembedding.head_VE.dtype)
        np.testing.assert_array_equal(one.unembedding.head_VE, whole.unembedding.head_VE)
        seen = 0
        for batch, states_BTE in one.states(tokens, packed, tmp_path / "streams"):
            expected_BTE = np.asarray(whole.read(batch).states)
            assert states_BTE.dtype == expected_BTE.dtype
            scored = batch.segment_BT > 0
            close = (2e-5, 2e-6) if dtype == "float32" else (0.03, 0.03)
            np.testing.assert_allclose(
                states_BTE[scored].astype(np.float32),
                expected_BTE[scored].astype(np.float32),
                *close,
            )
            seen += scored.sum()
        assert seen == (tokens.lengths - 1)[tokens.num_scored > 0].sum()
    assert list(tmp_path.glob("streams*")) == []


def test_the_same_comparison(place, tmp_path, monkeypatch):
    """And the whole reference is never loaded; what is kept serves the next model."""
    texts, reference = place / "texts.jsonl", place / "reference"
    models = [place / "model", reference]
    plain = package.compare(models, texts, tmp_path / "plain", reference=reference)
    loads = watch(monkeypatch)
    asked = dict(reference=reference, layer_by_layer="yes")
    found = package.compare(models[:1], texts, tmp_path / "store", **asked)
    found.raise_for_failures()
    assert "reference" not in loads
    [states] = (tmp_path / "store" / "comparisons").glob("*.npy")
    written = states.stat().st_mtime_ns
    second = package.compare(models[1:], texts, tmp_path / "store", **asked)
    assert states.stat().st_mtime_ns == written
    assert list((tmp_path / "store" / "comparisons").glob("*.layer*")) == []
    for one, other in zip((*found.compared, *second.compared), plain.compared, strict=True):
        assert one.row.token_kl_nats == pytest.approx(other.row.token_kl_nats, rel=1e-5, abs=1e-6)
        assert one.row.bits_per_byte == pytest.approx(other.row.bits_per_byte, rel=1e-6)
        assert one.row.same_top_token == other.row.same_top_token


def test_it_is_chosen_by_the_sizes_of_weights(place, tmp_path, monkeypatch):
    texts, reference = place / "texts.jsonl", place / "reference"

    def with_memory(num_bytes, name):
        monkeypatch.setattr(of_reference, "device_memory", lambda device: num_bytes)
        store = tmp_path / name
        loads = watch(monkeypatch)
        found = package.compare(place / "model", texts, store, reference=reference)
        found.raise_for_failures()
        states = list((store / "comparisons").glob("*.npy"))
        monkeypatch.undo()
        return found.found[0].token_kl_nats, "reference" in loads, len(states)

    with weights.opened(reference) as found:
        own = of_reference.layer_weights.num_bytes(found, "float32")
    kl, loaded, states = with_memory(100 * own, "whole")
    assert (loaded, states) == (True, 0)
    assert with_memory(1.3 * own, "states") == (pytest.approx(kl, rel=1e-5), True, 1)
    assert with_memory(0.9 * own, "layers") == (pytest.approx(kl, rel=1e-5), False, 1)
    assert with_memory(None, "unknown")[1:] == (True, 0)


def test_it_resumes_after_a_layer(place, tmp_path, monkeypatch):
    """Interrupted in its last layer, it reads only that one again."""
    texts, store = place / "texts.jsonl", tmp_path / "store"
    asked = dict(reference=place / "reference", layer_by_layer="yes")
    read, real = [], layer_by_layer.LayerWeights.of_layer

    def of_layer(self, layer):
        read.append(layer)
        if len(read) == 3:
            raise KeyboardInterrupt
        return real(self, layer)

    monkeypatch.setattr(layer_by_layer.LayerWeights, "of_layer", of_layer)
    with pytest.raises(KeyboardInterrupt):
        package.compare(place / "model", texts, store, **asked)
    found = package.compare(place / "model", texts, store, **asked)
    assert read == [0, 1, 2, 2]
    plain = package.compare(
        place / "model", texts, tmp_path / "plain", reference=place / "reference"
    )
    assert found.found[0].token_kl_nats == pytest.approx(plain.found[0].token_kl_nats, rel=1e-5)


def test_between_tokenizers_and_what_it_refuses(place, tmp_path, monkeypatch):
    other = tmp_path / "other"
    make_checkpoint(other, LLAMA, seed=3, max_position_embeddings=64)
    (other / "tokenizer.json").write_text(bytes_tokenizer_json())
    texts, reference = place / "texts.jsonl", place / "reference"
    plain = package.compare(other, texts, tmp_path / "plain", reference=reference)
    loads = watch(monkeypatch)
    found = package.compare(
        other, texts, tmp_path / "store", reference=reference, layer_by_layer="yes"
    )
    assert "reference" not in loads
    assert found.found[0].delta_bits_per_byte == pytest.approx(
        plain.found[0].delta_bits_per_byte, rel=1e-5
    )
    small = package.compare(
        place / "model", texts, tmp_path / "small", reference=reference,
        layer_by_layer="yes", states_budget="1KB",
    )  # fmt: skip
    [(_, error)] = small.failures
    assert str(error).startswith("states_budget=1 kB: the reference's states take")
    with pytest.raises(InputError, match="floor_dtype: takes the whole reference in memory"):
        package.compare(
            place / "model", texts, tmp_path / "floor", reference=reference,
            layer_by_layer="yes", floor_dtype="bfloat16",
        )  # fmt: skip
    with pytest.raises(InputError, match="layer_by_layer=maybe: is auto, yes or no"):
        package.compare(
            place / "model", texts, tmp_path / "s", reference=reference, layer_by_layer="maybe"
        )

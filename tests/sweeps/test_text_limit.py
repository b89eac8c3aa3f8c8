"""Texts beyond `Spec.dense_up_to` are refused before weights are read; plans know the limit."""

from __future__ import annotations

from support.checkpoints import V, jaxmap, make_checkpoint, score, watch, write_texts

from jaxmap.store import Store

_CONFIG = dict(
    model_type="deepseek_v32",
    vocab_size=V,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    num_key_value_heads=2,
    intermediate_size=24,
    max_position_embeddings=256,
    n_routed_experts=4,
    n_group=1,
    topk_group=1,
    num_experts_per_tok=2,
    moe_intermediate_size=8,
    q_lora_rank=6,
    kv_lora_rank=6,
    qk_nope_head_dim=4,
    qk_rope_head_dim=4,
    v_head_dim=4,
    first_k_dense_replace=1,
    index_topk=12,
)
_LONG, _SHORT = "0123456789" * 3, ["0123456789", "abc"] * 4


def test_longer_texts_are_refused_before_weights_are_read(tmp_path, monkeypatch):
    model = make_checkpoint(tmp_path / "model", _CONFIG)
    seen = watch(monkeypatch)
    texts = write_texts(tmp_path / "long.jsonl", [*_SHORT, _LONG])
    ran = score(tmp_path / "store", texts, model)
    assert ran.code == 2
    assert seen == []
    (message,) = (line for line in ran.messages if "longer than 12 tokens" in line)
    assert "1 of 9 texts" in message
    assert "(text 8, from 0, has 30)" in message
    assert "--engine=torch" in message


def test_what_is_recorded_and_planned(tmp_path):
    model = make_checkpoint(tmp_path / "model", _CONFIG)
    # Several of these texts share a row, which is longer than the limit.
    ran = score(tmp_path / "store", write_texts(tmp_path / "t.jsonl", _SHORT), model)
    assert ran.code == 0, ran.err
    (entry,) = Store.open(tmp_path / "store").entries()
    assert entry.provenance.model["dense_up_to"] == 12

    planned = jaxmap("plan", f"--model={model}", "--tokens=12", "--n=8")
    assert planned.code == 0
    assert "of up to 12 tokens" in planned.out
    refused = jaxmap("plan", f"--model={model}", "--tokens=13", "--n=8")
    assert refused.code == 2
    assert "more than 12 tokens" in refused.err

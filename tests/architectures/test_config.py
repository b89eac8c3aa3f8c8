"""config.json as the Hub holds it: old and new spellings, defaults, keys that nothing reads."""

from __future__ import annotations

import math

import pytest
from support.cases.core import CASES
from support.parity import LOGITS, LOGITS_OF

from jaxmap.architectures import coverage
from jaxmap.architectures.config import Config
from jaxmap.architectures.registry import families
from jaxmap.architectures.rows import row_key_of
from jaxmap.architectures.specs import spec_of
from jaxmap.errors import InputError
from jaxmap.model.decoder import abstract, named


def _spec(config):
    return spec_of(Config(config, "config.json"))


LLAMA = {**CASES["llama"], "rms_norm_eps": 1e-5}
LLAMA3 = dict(
    rope_type="llama3",
    factor=8.0,
    low_freq_factor=1.0,
    high_freq_factor=4.0,
    original_max_position_embeddings=64,
)

SPELLINGS = {
    "theta": (
        {**LLAMA, "rope_theta": 500_000.0},
        {**LLAMA, "rope_parameters": {"rope_theta": 500_000.0, "rope_type": "default"}},
    ),
    "linear": (
        {**LLAMA, "rope_scaling": {"type": "linear", "factor": 4.0}},
        {**LLAMA, "rope_parameters": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4}},
    ),
    "llama3": (
        {**LLAMA, "rope_theta": 5e5, "rope_scaling": LLAMA3},
        {**LLAMA, "rope_parameters": {**LLAMA3, "rope_theta": 5e5}},
    ),
    "null scaling": ({**LLAMA, "rope_scaling": None}, LLAMA),
    "trained length outside": (
        {
            **LLAMA,
            "original_max_position_embeddings": 32,
            "rope_scaling": {"type": "yarn", "factor": 4.0},
        },
        {
            **LLAMA,
            "rope_parameters": {
                "rope_type": "yarn",
                "factor": 4.0,
                "rope_theta": 1e4,
                "original_max_position_embeddings": 32,
            },
        },
    ),
    "rotary share of GPT-NeoX": (
        {**CASES["gpt_neox"], "rotary_pct": 0.5, "rotary_emb_base": 5000},
        {
            **CASES["gpt_neox"],
            "rope_parameters": {"partial_rotary_factor": 0.5, "rope_theta": 5000.0},
        },
    ),
    "names of sizes in GPT-2": (
        CASES["gpt2"],
        {
            "model_type": "gpt2",
            "vocab_size": 97,
            "hidden_size": 40,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "n_inner": 52,
            "max_position_embeddings": 128,
        },
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_both_spellings_mean_the_same(name):
    old, new = SPELLINGS[name]
    assert _spec(old) == _spec(new)


@pytest.mark.parametrize(
    "changed",
    [
        {"rope_theta": 20_000.0},
        {"rope_scaling": {"type": "linear", "factor": 2.0}},
        {"num_key_value_heads": 4},
        {"head_dim": 10},
        {"rms_norm_eps": 1e-3},
        {"tie_word_embeddings": True},
        {"attention_bias": True},
        {"mlp_bias": True},
        {"hidden_act": "gelu"},
        {"max_position_embeddings": 64},
    ],
)
def test_every_key_is_read(changed):
    assert _spec({**LLAMA, **changed}) != _spec(LLAMA)


def test_keys_without_effect():
    noise = {
        "architectures": ["LlamaForCausalLM"],
        "torch_dtype": "bfloat16",
        "transformers_version": "4.31.0",
        "use_cache": False,
        "bos_token_id": 3,
        "pretraining_tp": 2,
        "attention_dropout": 0.5,
        "initializer_range": 0.5,
    }
    assert _spec({**LLAMA, **noise}) == _spec(LLAMA)


def test_unread_key_is_refused_by_name_unless_declared():
    config = {**LLAMA, "logit_multiplier": 3}
    with pytest.raises(InputError, match="logit_multiplier=3"):
        _spec(config)
    assert spec_of(Config(config, "config.json"), ("logit_multiplier",)) == _spec(LLAMA)


def test_unknown_model_type_lists_the_known():
    with pytest.raises(InputError, match=r"unknown model type 'lama'.*gpt_neox.*llama"):
        _spec({**LLAMA, "model_type": "lama"})


@pytest.mark.parametrize(
    ("scaling", "context"),
    [
        ({"type": "linear", "factor": 4.0}, 512),
        ({"type": "dynamic", "factor": 2.0}, 256),
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 128}, 512),
        ({"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}, 128),
        (LLAMA3, 128),
    ],
)
def test_context_is_what_the_scaling_stretches_to(scaling, context):
    assert _spec({**LLAMA, "rope_scaling": scaling}).context == context


@pytest.mark.parametrize("kind", sorted(families()))
def test_every_page_cites_a_paper(kind):
    assert families()[kind].paper


def test_the_published_map_is_covered():
    assert sum(coverage.PUBLISHED.values()) == 1018
    text = coverage.table()
    assert "1,018 of 1,018" in text
    for kind in families():
        assert f"\n{kind} " in text


def test_a_type_without_a_page_is_named_and_not_counted(monkeypatch):
    monkeypatch.delitem(coverage.families(), "rwkv")
    text = coverage.table()
    assert "1,015 of 1,018" in text
    assert "rwkv (3): no page for it" in text


_SEEN = {
    "versions": {"torch": "2.0"},
    "cases": [
        {
            "model_type": "gptj",
            "case": case,
            "reference": "GPTJForCausalLM (sdpa)",
            "remote": False,
            "mixers": ["attention"],
            "mlps": [mlp],
            "whole": whole,
            "date": date,
            **errors,
        }
        for case, mlp, whole, date, errors in (
            ("one", "dense", [], "2026-10-02", {"logits": 3e-6, "text": 4e-4}),
            (
                *("two", "experts", ["experts"], "2026-11-01"),
                {"logits": 2e-5, "text": 1e-4, "lens": 6e-4},
            ),
        )
    ],
}


def test_the_table_says_the_worst_that_was_measured(monkeypatch):
    monkeypatch.setattr(coverage, "_record", lambda: _SEEN)
    monkeypatch.setattr(coverage, "quantisable", lambda part: part != "experts")
    row = next(line for line in coverage.table("gptj").splitlines() if line.startswith("gptj"))
    assert row.split("  ", 1)[0] == "gptj"
    for cell in (
        " 19 ",
        "attention dense experts",
        "2e-05",
        "4e-04",
        "6e-04",
        "2026-10-02",
        "Wang",
    ):
        assert cell in row
    assert row.count("not experts") == 2  # neither quantised nor sharded
    unseen = next(line for line in coverage.table("bloom").splitlines() if line.startswith("bloom"))
    assert unseen.split()[:9] == ["bloom", "12", *"-------"]


def test_every_type_was_measured_at_every_layer_and_is_within_the_bounds():
    seen = coverage.measured()
    assert set(seen) == set(families())
    for kind, one in seen.items():
        recurrent = not {"attention", "latent"} >= set(one.mixers)
        assert one.logits < LOGITS_OF.get(kind, LOGITS), kind
        # A comparison that did not run is None, which no bound holds.
        assert (one.text or math.inf) < (5e-3 if recurrent else 2e-3), kind
        assert (one.lens or math.inf) < (5e-3 if recurrent else 4e-3), kind


# config.json as the Hub holds it: every key is read or known to be inert.
RELEASED = {
    "rwkv-4-169m-pile": (
        dict(
            model_type="rwkv",
            attention_hidden_size=768,
            context_length=1024,
            hidden_size=768,
            intermediate_size=3072,
            layer_norm_epsilon=1e-5,
            num_hidden_layers=12,
            rescale_every=6,
            tie_word_embeddings=False,
            use_cache=True,
            vocab_size=50_277,
        ),
        169_342_464,
    ),
    "recurrentgemma-2b": (
        dict(
            model_type="recurrent_gemma",
            attention_bias=False,
            attention_dropout=0.0,
            attention_window_size=2048,
            block_types=["recurrent", "recurrent", "attention"],
            conv1d_width=4,
            final_w_init_variance_scale=0.0769,
            head_dim=256,
            hidden_activation="gelu_pytorch_tanh",
            hidden_size=2560,
            intermediate_size=15_360,
            logits_soft_cap=30.0,
            lru_width=2560,
            num_attention_heads=10,
            num_hidden_layers=26,
            num_key_value_heads=1,
            partial_rotary_factor=0.5,
            rms_norm_eps=1e-6,
            rope_theta=10_000.0,
            vocab_size=256_000,
            w_init_variance_scale=0.01,
        ),
        2_682_862_080,
    ),
    "Qwen3-Next-80B-A3B, 4 of its 48 layers": (
        dict(
            model_type="qwen3_next",
            attention_bias=False,
            attention_dropout=0.0,
            decoder_sparse_step=1,
            full_attention_interval=4,
            head_dim=256,
            hidden_act="silu",
            hidden_size=2048,
            initializer_range=0.02,
            intermediate_size=5120,
            linear_conv_kernel_dim=4,
            linear_key_head_dim=128,
            linear_num_key_heads=16,
            linear_num_value_heads=32,
            linear_value_head_dim=128,
            max_position_embeddings=262_144,
            mlp_only_layers=[],
            moe_intermediate_size=512,
            norm_topk_prob=True,
            num_attention_heads=16,
            num_experts=512,
            num_experts_per_tok=10,
            num_hidden_layers=4,
            num_key_value_heads=2,
            output_router_logits=False,
            partial_rotary_factor=0.25,
            rms_norm_eps=1e-6,
            rope_scaling=None,
            rope_theta=10_000_000,
            router_aux_loss_coef=0.001,
            shared_expert_intermediate_size=512,
            tie_word_embeddings=False,
            vocab_size=151_936,
        ),
        None,
    ),
}


@pytest.mark.parametrize("name", RELEASED)
def test_released_recurrent_models(name):
    config, count = RELEASED[name]
    spec = _spec(config)
    _, shapes = abstract(spec)
    leaves = named(shapes)
    rows = families()[config["model_type"]].rows(spec)
    assert {row_key_of(path, spec).key for path in leaves} <= set(rows)
    total = sum(math.prod(leaf.shape) for leaf in leaves.values())
    assert count is None or total == count


@pytest.mark.parametrize(
    ("name", "changed", "message"),
    [
        ("rwkv-4-169m-pile", {"rescale_every": "6"}, "rescale_every"),
        ("rwkv-4-169m-pile", {"head_size": 64}, "head_size=64"),  # of later versions of RWKV
        ("recurrentgemma-2b", {"block_types": ["recurrent", "mamba"]}, "block_types"),
        ("recurrentgemma-2b", {"block_types": []}, "block_types"),
        ("recurrentgemma-2b", {"head_dim": 128}, "head_dim"),
        ("recurrentgemma-2b", {"lru_width": 2555}, "2555"),
        ("Qwen3-Next-80B-A3B, 4 of its 48 layers", {"linear_num_value_heads": 24}, "evenly"),
        ("Qwen3-Next-80B-A3B, 4 of its 48 layers", {"layer_types": ["mamba"] * 4}, "layer_types"),
    ],
)
def test_refused_recurrent_models(name, changed, message):
    with pytest.raises(InputError, match=message):
        _spec({**RELEASED[name][0], **changed})

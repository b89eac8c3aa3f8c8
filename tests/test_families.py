"""config.json as the Hub holds it: old and new spellings, defaults, keys that nothing reads."""

from __future__ import annotations

import pytest
from families import CASES

from jaxmap.errors import InputError
from jaxmap.model.families import FAMILIES, spec_of
from jaxmap.model.families.config import Config


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


@pytest.mark.parametrize("kind", sorted(FAMILIES))
def test_every_page_cites_a_paper(kind):
    assert FAMILIES[kind].paper


def test_coverage_counts_the_published_map():
    from jaxmap.model.families.coverage import PUBLISHED, table

    assert sum(PUBLISHED.values()) == 1018
    absent = sum(n for kind, n in PUBLISHED.items() if kind not in FAMILIES)
    text = table()
    assert f"{1018 - absent:,} of 1,018" in text
    for kind in PUBLISHED:
        assert kind in text

"""config.json of the Llama line's successors: the spellings on the Hub, and what is refused."""

from __future__ import annotations

import pytest
from support.cases import remote
from support.cases.llama_successors import CASES

from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

FULL, NEAR = "full_attention", "sliding_attention"


def _spec(config: dict) -> Spec:
    return spec_of(Config(config, "config.json"))


def _without(config: dict, *keys: str) -> dict:
    return {key: value for key, value in config.items() if key not in keys}


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}

# As transformers 4 wrote it, as 5 writes it.
SPELLINGS = {
    "gemma3_text": (
        {
            **_without(CASES["gemma3_text"], "rope_parameters", "layer_types"),
            "rope_theta": 5000.0,
            "rope_local_base_freq": 70.0,
            "rope_scaling": {"rope_type": "linear", "factor": 3.0},
            "sliding_window_pattern": 3,
            "cache_implementation": "hybrid",
        },
        {**CASES["gemma3_text"], "layer_types": [NEAR, NEAR, FULL, NEAR]},
    ),
    "gemma3_text defaults": (
        _without(CASES["gemma3_text"], "rope_parameters", "layer_types"),
        {
            **CASES["gemma3_text"],
            "layer_types": [NEAR] * 4,
            "rope_parameters": {FULL: {"rope_theta": 1e6}, NEAR: {"rope_theta": 1e4}},
        },
    ),
    "olmo3": (
        {
            **_without(CASES["olmo3"], "rope_parameters"),
            "rope_theta": 600.0,
            "rope_scaling": YARN,
        },
        {
            **CASES["olmo3"],
            "layer_types": [NEAR, NEAR, NEAR, FULL],
            "rope_parameters": {
                FULL: {**YARN, "rope_theta": 600.0},
                NEAR: {"rope_type": "default", "rope_theta": 600.0},
            },
        },
    ),
    "phi3": (
        {
            **_without(CASES["phi3-longrope"], "rope_parameters"),
            "rope_theta": 500.0,
            "partial_rotary_factor": 0.8,
            "rope_scaling": {
                "type": "su",
                "short_factor": [1.0, 1.1, 1.2, 1.3],
                "long_factor": [1.0, 2.0, 3.0, 4.0],
            },
            "attention_bias": False,
            "lm_head_bias": False,
            "mlp_bias": False,
        },
        CASES["phi3-longrope"],
    ),
    "glm": (
        {**CASES["glm"], "partial_rotary_factor": 0.7, "rope_theta": 500.0},
        CASES["glm-rope-share"],
    ),
    "nemotron": (
        {**CASES["nemotron"], "partial_rotary_factor": 0.7, "rope_theta": 500.0},
        CASES["nemotron-rope-share"],
    ),
    "cohere2": (
        {
            **CASES["cohere2"],
            "sliding_window_pattern": 2,
            "layer_switch": 2,
            "order_of_interleaved_layers": "local_attn_first",
            "position_embedding_type": "rope_gptj",
            "rotary_pct": 1.0,
            "use_embedding_sharing": True,
            "use_gated_activation": True,
            "use_parallel_block": True,
            "use_parallel_embedding": True,
        },
        {**CASES["cohere2"], "layer_types": [NEAR, FULL, NEAR, FULL]},
    ),
    "exaone4": (
        {**CASES["exaone4"], "sliding_window_pattern": "LLLG", "layer_types": [NEAR] * 3 + [FULL]},
        CASES["exaone4"],
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_spellings_of_transformers_4_and_5(name):
    old, new = SPELLINGS[name]
    assert _spec(old) == _spec(new)


REFUSED = {
    "gemma": ({"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    "gemma2": ({"use_bidirectional_attention": True}, "use_bidirectional_attention"),
    "gemma3_text": ({"attn_logit_softcapping": 50.0}, "attn_logit_softcapping"),
    "gemma3_text-pattern": ({"sliding_window_pattern": 0}, "do not fit"),
    "phi3": ({"rope_scaling": {"type": "yarn", "factor": 2.0}}, "rope_type 'yarn'"),
    "phi3-window": ({"lm_head_bias": True}, "lm_head_bias"),
    "cohere2": ({"sliding_window": None}, "sliding_window"),
    "cohere2-pattern": ({"use_parallel_block": False}, "use_parallel_block"),
    "smollm3": ({"no_rope_layers": [1, 0]}, "no_rope_layers"),
    "smollm3-layer-types": ({"use_sliding_window": False}, "use_sliding_window denies"),
    "exaone4": ({"sliding_window_pattern": "LLLG"}, "without layer_types"),
    "exaone4-global": (
        {"sliding_window": None, "layer_types": [NEAR, FULL, FULL, FULL]},
        "sliding_window is None",
    ),
    "olmo3-layer-types": ({"layer_types": [FULL, "chunked", FULL, FULL]}, "unknown layer_types"),
    "nemotron": ({"kv_channels": 10}, "kv_channels"),
    "internlm3": ({"qkv_bias": True, "bias": False}, "qkv_bias"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    changed, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        _spec({**CASES[name], **changed})


REFUSED_REMOTE = {
    "minicpm": ({"num_experts": 8}, "num_experts"),
    "minicpm-tied": ({"sparse_config": {"topk": 4}}, "sparse_config"),
    "deci": ({"num_key_value_heads_per_layer": [4, 3, 1, 2]}, "4 divisors of 4 heads"),
    "qwen": ({"kv_channels": 12}, "kv_channels"),
    "baichuan-7b": ({"vocab_size": 97}, "vocab_size = 97"),
    "baichuan2-7b": ({"vocab_size": 64_000, "z_loss_weight": 0}, "z_loss_weight"),
    "baichuan-13b": ({"model_max_length": None}, "model_max_length is missing"),
    "internlm": ({"rotary": {"base": 500, "type": "other"}}, "type = 'other'"),
}


@pytest.mark.parametrize("name", REFUSED_REMOTE)
def test_refused_of_remote_code_types(name):
    changed, message = REFUSED_REMOTE[name]
    with pytest.raises(InputError, match=message):
        _spec({**remote.CASES[name].config, **changed})


def test_a_long_text_is_cut_where_qwen_and_internlm_would_stretch():
    assert _spec(remote.CASES["qwen"].config).context == 128
    assert _spec(remote.CASES["internlm"].config).context == 128


def test_unknown_type_names_the_nearest():
    with pytest.raises(InputError, match="unknown model type 'gemma9_text'; nearest: gemma4_text"):
        _spec({**CASES["gemma3_text"], "model_type": "gemma9_text"})

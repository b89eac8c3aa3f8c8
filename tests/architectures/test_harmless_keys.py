"""Keys of config.json that change nothing, by name or by value; two spellings of one setting."""

from __future__ import annotations

import pytest
from support.checkpoints import GPT2, LLAMA

from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.errors import InputError

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
PLAIN = {"rope_type": "default", "rope_theta": 10_000.0}


def spec(config=LLAMA, **changes):
    return spec_of(Config({**config, **changes}, "config.json"))


@pytest.mark.parametrize(
    "extra",
    [
        {"is_llama_config": True, "rope_interleaved": False},  # nanotron
        {"transformers.js_config": {"kv_cache_dtype": {"q4f16": "float16"}}},
        {"unsloth_version": "2025.1", "unsloth_fixed": True},
        {"_model_name_or_path": "a model"},  # read from a GGUF
        {"neftune_noise_alpha": 5.0, "use_flash_attn": True},
        {"tokenizer_model_max_length": 2048, "tokenizer_padding_side": "right"},
        {"qk_layer_norms": False, "alibi": False, "residual_multiplier": 1.0},
        {"logits_soft_cap": None, "something_new": None},
    ],
)
def test_harmless(extra):
    assert spec(**extra) == spec()


@pytest.mark.parametrize(
    "extra",
    [
        {"rope_interleaved": True},
        {"qk_layer_norms": True},
        {"alibi": True},
        {"residual_multiplier": 0.5},
        {"residual_multiplier": True},
        {"rotary_pct": 0.25},
        {"logits_soft_cap": 30.0},
        {"something_new": False},
    ],
)
def test_the_same_keys_with_another_value(extra):
    [key] = extra
    with pytest.raises(InputError, match=f"nothing read: {key}="):
        spec(**extra)


def test_two_spellings():
    spellings = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2)
    assert spec(GPT2, **spellings, max_position_embeddings=256) == spec(GPT2)
    without = {key: value for key, value in GPT2.items() if key not in ("n_embd", "n_layer")}
    assert spec(without, **spellings) == spec(GPT2)
    with pytest.raises(InputError, match="n_layer = 2 and num_hidden_layers = 3 are two values"):
        spec(GPT2, num_hidden_layers=3)


def test_rope_scaling_wins():
    """As in transformers 5, where people add it to a config.json that has rope_parameters."""
    assert spec(rope_scaling=YARN, rope_parameters=PLAIN) == spec(rope_scaling=YARN)
    assert spec(rope_scaling=YARN).ropes != spec().ropes
    assert spec(rope_scaling=None, rope_parameters=YARN) == spec(rope_scaling=YARN)
    assert spec(rope_scaling={}, rope_parameters=YARN) == spec(rope_scaling=YARN)
    other = {**PLAIN, "rope_theta": 500_000.0}
    with pytest.raises(InputError, match="rope_scaling wins over rope_parameters, and would lose"):
        spec(rope_scaling=YARN, rope_parameters=other)
    given = spec(rope_scaling=YARN, rope_parameters=other, rope_theta=500_000.0)
    assert given == spec(rope_scaling=YARN, rope_theta=500_000.0)


def test_rope_scaling_beside_one_per_type_of_layer():
    from support.cases.llama_successors import CASES

    with pytest.raises(InputError, match="rope_scaling beside rope_parameters"):
        spec(CASES["gemma3_text"], rope_scaling={"rope_type": "linear", "factor": 2.0})

"""config.json of the types of support/cases/more.py, as their makers' own repositories write it."""

from __future__ import annotations

import pytest
from support.cases.more import CASES

from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec


def _spec(config: dict) -> Spec:
    return spec_of(Config(config, "config.json"))


def _without(config: dict, *keys: str) -> dict:
    return {key: value for key, value in config.items() if key not in keys}


_YARN = CASES["sarvam_mla-yarn"]["rope_parameters"]
# As the makers write it, as transformers does.
SPELLINGS = {
    # transformers itself overlooks the base there and takes 10,000.
    "dbrx": (_without(CASES["dbrx"], "rope_parameters"), CASES["dbrx"]),
    "openai-gpt": (
        {**CASES["openai-gpt"], "n_ctx": 128, "n_special": 0, "predict_special_tokens": True},
        CASES["openai-gpt"],
    ),
    "persimmon": (
        {**CASES["persimmon"], "rope_theta": 25_000.0, "partial_rotary_factor": 0.5},
        {
            **CASES["persimmon"],
            "rope_parameters": {"rope_theta": 25_000.0, "partial_rotary_factor": 0.5},
        },
    ),
    "gpt_neox_japanese": (
        {**CASES["gpt_neox_japanese"], "rotary_emb_base": 500, "rotary_pct": 0.5},
        {
            **CASES["gpt_neox_japanese"],
            "rope_parameters": {"rope_theta": 500, "partial_rotary_factor": 0.5},
        },
    ),
    "sarvam_moe": (
        {
            **_without(CASES["sarvam_moe"], "n_routed_experts"),
            "num_experts": 6,
            "num_shared_experts": 1,
            "use_qkv_bias": False,
            "score_function": "sigmoid",
            "moe_router_enable_expert_bias": True,
        },
        CASES["sarvam_moe"],
    ),
    "sarvam_mla": (
        {
            **_without(CASES["sarvam_mla"], "n_routed_experts", "q_lora_rank"),
            "num_experts": 6,
            "head_dim": 28,
            "q_head_dim": 18,
            "rope_scaling": {
                **_without(_YARN, "rope_type", "rope_theta"),
                "type": "deepseek_yarn",
            },
            "rope_theta": 500.0,
        },
        CASES["sarvam_mla-yarn"],
    ),
    "modernbert-decoder": (
        {
            **CASES["modernbert-decoder"],
            "global_attn_every_n_layers": 3,
            "global_rope_theta": 700.0,
            "local_rope_theta": 90.0,
        },
        {
            **CASES["modernbert-decoder"],
            "layer_types": ["full_attention", *["sliding_attention"] * 2, "full_attention"],
            "rope_parameters": {
                "full_attention": {"rope_theta": 700.0},
                "sliding_attention": {"rope_theta": 90.0},
            },
        },
    ),
    "cohere2_moe": (
        {**CASES["cohere2_moe"], "rms_norm_eps": None},
        {
            **_without(CASES["cohere2_moe"], "first_k_dense_replace"),
            "layer_types": ["full_attention", *["sliding_attention"] * 2, "full_attention"],
            "mlp_layer_types": ["dense", *["sparse"] * 3],
        },
    ),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_both_spellings_are_one_spec(name):
    theirs, ours = SPELLINGS[name]
    assert _spec(theirs) == _spec(ours)


def test_released_values_without_their_keys():
    """What config.json may leave out is what the class of transformers assumes."""
    japanese = _spec(CASES["gpt_neox_japanese"])
    assert [kind.out_bias for kind in japanese.kinds] == [False, True]
    assert japanese.ropes[0].dims == japanese.C  # whole heads
    assert _spec(CASES["persimmon"]).ropes[0].dims == 6
    assert _spec(CASES["minicpm3"]).embed_scale == 12
    widths = {"linear_value_head_dim": None, "rope_parameters": None}
    olmo = _spec({**CASES["olmo_hybrid"], **widths})
    assert olmo.delta is not None
    assert (olmo.delta.K, olmo.delta.C, olmo.delta.rate) == (12, 24, 2)
    assert olmo.ropes[0].inv_freq[1] == pytest.approx(10_000 ** (-1 / 5))
    assert _spec(CASES["olmo_hybrid"]).ropes == ()
    ettin = _spec(CASES["modernbert-decoder"])
    assert ettin.window == (0, 11, 11, 0)
    assert ettin.kinds[0].bare == {"attn_in"}
    bare = _without(CASES["dbrx"], "rope_parameters")
    bare["attn_config"] = {"kv_n_heads": 2, "clip_qkv": 0.7}
    ten_thousand = {**CASES["dbrx"], "rope_parameters": {"rope_theta": 10_000.0}}
    assert _spec(bare).ropes == _spec(ten_thousand).ropes


REFUSED = {
    "dbrx": {"ffn_config": {"moe_normalize_expert_weights": 2.0}},
    "afmoe": {"score_func": "softmax"},
    "iquestcoder": {"clip_qkv": 4.0},
    "sarvam_moe": {"score_function": "softmax"},
    "cohere2_moe": {"expert_selection_fn": "tanh"},
    "hy_v3": {"route_norm": False},
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_decoder_cannot_do_is_refused_by_name(name):
    key, value = next(iter(REFUSED[name].items()))
    named = next(iter(value)) if isinstance(value, dict) else key
    with pytest.raises(InputError, match=named):
        _spec({**CASES[name], key: value})


def test_an_unknown_activation_before_the_head_is_named():
    with pytest.raises(InputError, match="unknown activation 'wavelet'"):
        _spec({**CASES["modernbert-decoder"], "classifier_activation": "wavelet"})

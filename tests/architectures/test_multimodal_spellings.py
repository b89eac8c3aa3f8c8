"""config.json of checkpoints of several modalities, as their makers' own repositories write it."""

from __future__ import annotations

import pytest
from support.cases.vision import CASES

from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec


def _spec(config: dict) -> Spec:
    return spec_of(Config(config, "config.json"))


def _flat(name: str, **more) -> dict:
    """The language model's keys at the top level, as older files have them."""
    config = CASES[name]
    outer = {key: value for key, value in config.items() if key != "text_config"}
    return {**config["text_config"], **outer, **more}


def _xdrope(config: dict) -> dict:
    rope = dict(config.pop("rope_parameters"))
    theta, sections = rope.pop("rope_theta"), rope.pop("mrope_section")
    del rope["rope_type"]
    scaling = {**rope, "type": "xdrope", "xdrope_section": sections, "beta_fast": 32, "mscale": 1.0}
    return {**config, "rope_theta": theta, "rope_scaling": scaling}


# As the makers write it, as transformers does.
SPELLINGS = {
    "paddleocr_vl": _flat(
        "paddleocr_vl", compression_ratio=1.0, rope_is_neox_style=True, use_3d_rope=True
    ),
    "hunyuan_vl": _xdrope(_flat("hunyuan_vl", pad_id=0, org_vocab_size=97, use_qk_norm=True)),
    "molmo2": {
        **CASES["molmo2"],
        "text_config": {
            **CASES["molmo2"]["text_config"],
            "layer_norm_eps": 1e-6,
            "qkv_bias": False,
            "rope_scaling_layers": None,
            "use_qk_norm": True,
        },
    },
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_both_spellings_are_one_spec(name):
    assert _spec(SPELLINGS[name]) == _spec(CASES[name])


def _text(name: str, **changed) -> Spec:
    config = CASES[name]
    return _spec({**config, "text_config": {**config["text_config"], **changed}})


def test_layers_of_llama_vision_are_those_that_read_text():
    spec = _text("mllama", cross_attention_layers=None, num_hidden_layers=40)
    assert (spec.L, spec.layer_numbers[:4]) == (32, (0, 1, 2, 4))
    assert not {3, 8, 13, 18, 23, 28, 33, 38} & set(spec.layer_numbers)
    assert spec.embed_V == spec.V + 8


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("mllama", "cross_attention_layers", [6]),
        ("glm4v", "attention_bias", False),
        ("glm4v_moe", "use_qk_norm", True),
        ("ernie4_5_vl_moe", "mlp_layer_types", ["dense", "sparse"]),
        ("molmo2", "qk_norm_type", "gemma"),
        ("emu3", "attention_bias", True),
    ],
)
def test_what_the_decoder_cannot_do_is_refused_by_name(name, key, value):
    with pytest.raises(InputError, match=key):
        _text(name, **{key: value})


_NEEDED = set(
    """
    model_type vocab_size hidden_size num_hidden_layers num_attention_heads num_key_value_heads
    intermediate_size max_position_embeddings pad_token_id head_dim num_experts
    moe_intermediate_size n_routed_experts num_experts_per_tok moe_num_experts moe_k
    cross_attention_layers
    kv_lora_rank q_lora_rank qk_rope_head_dim qk_nope_head_dim v_head_dim tie_word_embeddings
    """.split()
)


@pytest.mark.parametrize("bare", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_what_config_json_leaves_out_is_what_the_class_assumes(name, bare):
    """As given, and with sizes only; the class fills in its defaults.

    Cosmos 3 cannot do without a rope; for Qwen3-VL's in it see test_left_out.py.
    """
    from transformers import AutoConfig

    config = CASES[name]
    if bare and "text_config" in config and not name.startswith("cosmos3"):
        text = config["text_config"]
        kept = {key: value for key, value in text.items() if key in _NEEDED}
        config = {**config, "text_config": kept}
    values = dict(config)
    filled = AutoConfig.for_model(values.pop("model_type"), **values).to_dict()
    assert _spec(config) == _spec(filled)

"""Types that need remote code elsewhere: config.json, what the oracle computes, names on disk."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

import torch

from support.oracle import Facts

Tensors = dict[str, torch.Tensor]


@dataclasses.dataclass(frozen=True)
class Case:
    """A checkpoint: `stored` makes what is on disk of the oracle's tensors."""

    config: dict[str, Any]
    facts: Facts
    stored: Callable[[Tensors], Tensors] = lambda tensors: dict(tensors)


def _renamed(*pairs: tuple[str, str]) -> Callable[[Tensors], Tensors]:
    def stored(tensors: Tensors) -> Tensors:
        made = {}
        for name, tensor in tensors.items():
            for old, new in pairs:
                name = re.sub(old, new, name)
            made[name] = tensor
        return made

    return stored


def _fused(into: str, rename: Callable[[Tensors], Tensors], groups: int = 0):
    """q, k and v one after another, or group by group where there are groups of heads."""

    def stored(tensors: Tensors) -> Tensors:
        made = dict(tensors)
        for name in tensors:
            if ".q_proj." in name:
                parts = [made.pop(name.replace(".q_", f".{letter}_")) for letter in "qkv"]
                if groups:
                    parts = [
                        torch.cat([part.chunk(groups)[g] for part in parts]) for g in range(groups)
                    ]
                made[name.replace("q_proj", into)] = torch.cat(parts)
        return rename(made)

    return stored


_SAME = _renamed()
_SIZES = dict(
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=52,
    max_position_embeddings=128,
    hidden_act="silu",
    rms_norm_eps=0.02,
    tie_word_embeddings=False,
)
_LLAMA = {**_SIZES, "num_key_value_heads": 2}
_ALL = (4, 4, 4)  # key/value heads where the family has one a query head

_GPT_NAMES = (
    (r"^model\.embed_tokens", "transformer.wte"),
    (r"^model\.norm", "transformer.ln_f"),
    (r"^model\.layers", "transformer.h"),
    ("input_layernorm", "ln_1"),
    ("post_attention_layernorm", "ln_2"),
)
_EXAONE_NAMES = _renamed(
    *_GPT_NAMES,
    (r"self_attn\.o_proj", "attn.attention.out_proj"),
    ("self_attn", "attn.attention"),
    ("gate_proj", "c_fc_0"),
    ("up_proj", "c_fc_1"),
    ("down_proj", "c_proj"),
)
_QWEN_NAMES = _renamed(
    *_GPT_NAMES,
    (r"self_attn\.o_proj", "attn.c_proj"),
    ("self_attn", "attn"),
    ("up_proj", "w1"),
    ("gate_proj", "w2"),
    ("down_proj", "c_proj"),
)
_INTERNLM2_NAMES = _renamed(
    ("embed_tokens", "tok_embeddings"),
    ("lm_head", "output"),
    ("input_layernorm", "attention_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    (r"self_attn\.o_proj", "attention.wo"),
    ("self_attn", "attention"),
    (r"mlp\.gate_proj", "feed_forward.w1"),
    (r"mlp\.up_proj", "feed_forward.w3"),
    (r"mlp\.down_proj", "feed_forward.w2"),
)
_EXAONE = dict(
    model_type="exaone",
    vocab_size=97,
    hidden_size=40,
    num_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    intermediate_size=52,
    max_position_embeddings=128,
    activation_function="silu",
    layer_norm_epsilon=0.02,
    rope_theta=500.0,
    tie_word_embeddings=False,
)
_QWEN = dict(
    model_type="qwen",
    vocab_size=97,
    hidden_size=40,
    num_hidden_layers=3,
    num_attention_heads=4,
    intermediate_size=104,
    kv_channels=10,
    seq_length=128,
    max_position_embeddings=256,
    layer_norm_epsilon=0.02,
    rotary_emb_base=500,
    rotary_pct=1.0,
    no_bias=True,
    use_dynamic_ntk=True,
    use_logn_attn=True,
    tie_word_embeddings=False,
)
_BAICHUAN = {**_SIZES, "model_type": "baichuan", "hidden_size": 16, "intermediate_size": 20}
_BAICHUAN_FACTS = Facts(kv_heads=_ALL, D=16, C=4, F=20)
_ALIBI = {**_BAICHUAN, "model_max_length": 128}
del _ALIBI["max_position_embeddings"]
_PACK = _fused("W_pack", _SAME)

CASES: dict[str, Case] = {
    "minicpm": Case(
        {
            **_LLAMA,
            "model_type": "minicpm",
            "scale_emb": 3,
            "scale_depth": 1.4,
            "dim_model_base": 16,
        },
        Facts(embed_scale=3.0, branch_scale=1.4 / 3**0.5, logit_scale=16 / 40),
    ),
    "minicpm-tied": Case(
        {
            **_LLAMA,
            "model_type": "minicpm",
            "dim_model_base": 20,
            "rope_theta": 500.0,
            "tie_word_embeddings": True,
        },
        Facts(branch_scale=3**-0.5, logit_scale=20 / 40, theta=500.0, tied=True),
    ),
    "exaone": Case(_EXAONE, Facts(theta=500.0), _EXAONE_NAMES),
    "exaone-tied": Case(
        {**_EXAONE, "tie_word_embeddings": True, "layer_norm_epsilon": 0.3},
        Facts(theta=500.0, tied=True, eps=0.3),
        _EXAONE_NAMES,
    ),
    "deci": Case(
        {**_SIZES, "model_type": "deci", "num_key_value_heads_per_layer": [4, 1, 1, 2]}
        | {"num_hidden_layers": 4, "naive_attention_prefill": False},
        Facts(kv_heads=(4, 1, 1, 2)),
    ),
    "qwen": Case(
        _QWEN, Facts(kv_heads=_ALL, theta=500.0, qkv_bias=True), _fused("c_attn", _QWEN_NAMES)
    ),
    "internlm2": Case(
        {**_LLAMA, "model_type": "internlm2", "bias": False, "rope_theta": 500.0},
        Facts(theta=500.0),
        _fused("wqkv", _INTERNLM2_NAMES, groups=2),
    ),
    "internlm2-biases": Case(
        {**_LLAMA, "model_type": "internlm2", "bias": True},
        Facts(qkv_bias=True, out_bias=True),
        _fused("wqkv", _INTERNLM2_NAMES, groups=2),
    ),
    # Baichuan 1 and 2, with rope (7B) and with linear biases (13B): known by their vocabularies.
    "baichuan-7b": Case(
        {**_BAICHUAN, "vocab_size": 64_000},
        dataclasses.replace(_BAICHUAN_FACTS, V=64_000),
        _PACK,
    ),
    "baichuan-13b": Case(
        {**_ALIBI, "vocab_size": 64_000, "num_attention_heads": 4},
        dataclasses.replace(_BAICHUAN_FACTS, V=64_000, theta=None),
        _PACK,
    ),
    "baichuan2-7b": Case(
        {**_BAICHUAN, "vocab_size": 125_696, "model_max_length": 128},
        dataclasses.replace(_BAICHUAN_FACTS, V=125_696, head_normed=True),
        _PACK,
    ),
    "Yi": Case(
        {**_LLAMA, "model_type": "Yi", "rope_theta": 500.0},
        Facts(theta=500.0),
        _renamed(("input_layernorm", "ln1"), ("post_attention_layernorm", "ln2")),
    ),
    "Yi-llama-names": Case({**_LLAMA, "model_type": "Yi"}, Facts(theta=5_000_000.0)),
    "aquila": Case({**_LLAMA, "model_type": "aquila"}, Facts()),
    "internlm": Case(
        {**_SIZES, "model_type": "internlm", "bias": True}
        | {"rotary": {"base": 500, "type": "dynamic"}},
        Facts(kv_heads=_ALL, theta=500.0, qkv_bias=True, out_bias=True),
    ),
    "internlm-no-bias": Case(
        {**_SIZES, "model_type": "internlm", "bias": False}, Facts(kv_heads=_ALL)
    ),
    "orion": Case({**_LLAMA, "model_type": "orion"}, Facts(layer_norm=True)),
    "xverse": Case({**_LLAMA, "model_type": "xverse", "max_tokenizer_truncation": 64}, Facts()),
}

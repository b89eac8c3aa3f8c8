"""DiffLlama: Llama with differential attention."""

from __future__ import annotations

import math

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row
from jaxmap.errors import InputError
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Ye et al. 2024, arXiv:2410.05258"


def spec(c: Config) -> Spec:
    facts = llama.sizes(c, eps=1e-5)
    bias = c.get("attention_bias", False)
    c.inert("lambda_std_dev")
    for key, count in (("num_attention_heads", facts["H"]), ("num_key_value_heads", facts["G"])):
        if count % 2:
            raise InputError(f"{c.where}: {key} = {count}: differential attention pairs heads")
    return Spec(
        **facts,
        kinds=(Kind(mixer="differential"),) * facts["L"],
        subtracted=tuple(0.8 - 0.6 * math.exp(-0.3 * i) for i in range(facts["L"])),
        qkv_bias=bias,
        out_bias=bias,
    )


def rows(spec: Spec) -> dict[str, Row]:
    attn = "model.layers.{l}.self_attn"
    factors = (f"lambda_{part}{i}" for i in (1, 2) for part in "qk")
    return {
        **llama.rows(spec),
        **{f"blocks/attn/{name}": Row(f"{attn}.{name}") for name in factors},
    }


FAMILIES = {"diffllama": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}

"""DeciLM: Llama with a different number of key/value heads in each layer (remote code)."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.errors import InputError
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Deci AI 2023, DeciLM-7B"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS
rows = llama.rows


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c)
    L, H = sizes["L"], sizes["H"]
    groups = c["num_key_value_heads_per_layer"]
    sound = all(isinstance(g, int) and 1 <= g <= H and H % g == 0 for g in groups)
    if len(groups) != L or not sound:
        raise InputError(
            f"{c.where}: num_key_value_heads_per_layer must be {L} divisors of {H} heads"
        )
    bias = c.get("attention_bias", False)
    # The keys choose between two implementations of the same attention in the model's own code.
    c.inert(*(key for key in c if key.startswith("naive_attention_")))
    return Spec(
        **{**sizes, "G": max(groups)},
        kinds=tuple(Kind(G=g) for g in groups),
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=c.get("mlp_bias", False),
    )


FAMILIES = {"deci": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}

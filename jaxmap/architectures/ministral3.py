"""Ministral 3: Mistral whose queries grow with their position."""

from __future__ import annotations

from jaxmap.architectures import llama, rope
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.model.attention_facts import Temperature
from jaxmap.model.spec import Spec

PAPER = "Mistral AI 2025, Ministral 3, arXiv:2601.08584"
_ROPE = {  # where config.json says nothing
    "rope_type": "yarn",
    "rope_theta": 1e6,
    "factor": 16.0,
    "original_max_position_embeddings": 16_384,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
    "mscale_all_dim": 1.0,
    "mscale": 1.0,
    "llama_4_scaling_beta": 0.1,
}
_NOT_OF_ROPE = ("llama_4_scaling_beta", "max_position_embeddings")


def spec(c: Config) -> Spec:
    if c.peek("rope_scaling") is None:
        c.assume("rope_parameters", _ROPE)
    rope_facts = dict(theta=1e6, inert=_NOT_OF_ROPE)
    sizes = llama.sizes(c, kv_heads=8, head_dim=128, eps=1e-5, rope_facts=rope_facts)
    p = rope.described(c)
    assert p is not None
    window = c.get("sliding_window") or 0
    c.inert("layer_types")  # as for mistral
    return Spec(
        **sizes,
        window=(window,) * sizes["L"],
        temperature=Temperature(
            beta=p["llama_4_scaling_beta"], span=p["original_max_position_embeddings"]
        ),
    )


FAMILIES = {"ministral3": Family(PAPER, spec, llama.rows, llama.PREFIX, llama.INERT_TENSORS)}

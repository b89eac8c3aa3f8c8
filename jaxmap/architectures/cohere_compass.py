"""Cohere Compass, given text alone: Command A, with a rope or none by the type of layer."""

from __future__ import annotations

from jaxmap.architectures import llama, rope
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

PAPER = "Cohere 2026, Compass"
_TYPES = ("full_attention", "sliding_attention")


def spec(c: Config) -> Spec:
    facts = llama.shape(c, tied=True)
    L, bias = facts["L"], c.get("attention_bias", False)
    near = sliding_layers(c, L, lambda i: False)
    window = c.get("sliding_window", 4096)
    if any(near) and not window:
        raise InputError(f"{c.where}: sliding_window = {window!r}: layers need one")
    c.inert("pooling")
    by_type = c.peek("rope_parameters")
    split = isinstance(by_type, dict) and bool(set(by_type) & set(_TYPES))
    # Layers of a type whose rope is null have none.
    turned = [kind for kind in _TYPES if not split or (by_type or {}).get(kind) is not None]
    ropes = tuple(
        rope.from_config(c, head_dim=facts["C"], layer_type=kind if split else None)
        for kind in turned
    )
    of = [turned.index(kind) if kind in turned else -1 for kind in _TYPES]
    return Spec(
        **facts,
        context=c["max_position_embeddings"],
        norms=frozenset({"attn_in"}),
        parallel=True,
        norm="layer",
        eps=c.get("layer_norm_eps", 1e-5),
        qkv_bias=bias,
        out_bias=bias,
        ropes=ropes,
        rope_of=tuple(of[is_near] for is_near in near),
        window=tuple(window if is_near else 0 for is_near in near),
        logit_scale=c.get("logit_scale") or 1.0,
    )


FAMILIES = {
    "cohere_compass_text": Family(PAPER, spec, llama.rows, llama.PREFIX, llama.INERT_TENSORS)
}

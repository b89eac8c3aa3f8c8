"""nanochat: norms without parameters, an ungated MLP, a rope that turns backwards."""

from __future__ import annotations

import dataclasses

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, UP, Row, linear
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.spec import Spec

PAPER = "Karpathy 2025, nanochat"


def spec(c: Config) -> Spec:
    sizes = llama.sizes(c, act="relu2")
    (turn,) = sizes.pop("ropes")
    if turn.ntk is not None:
        raise ValueError("dynamic rope scaling is not supported for nanochat")
    backwards = dataclasses.replace(
        turn,
        inv_freq=tuple(-f for f in turn.inv_freq),
        long_inv_freq=tuple(-f for f in turn.long_inv_freq),
    )
    bias = c.get("attention_bias", False)
    return Spec(
        **sizes,
        ropes=(backwards,),
        norm_scale=False,
        embed_norm=True,
        gated=False,
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("head", "rms", sizes["eps"], scale=False, after_rope=True),
        logit_softcap=c.get("final_logit_softcapping", 15.0) or 0.0,
    )


def rows(spec: Spec) -> dict[str, Row]:
    mlp = "model.layers.{l}.mlp"
    return {
        **llama.rows(spec),
        **linear("blocks/mlp/up", f"{mlp}.fc1", UP),
        **linear("blocks/mlp/down", f"{mlp}.fc2", DOWN),
    }


FAMILIES = {"nanochat": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}

"""Baichuan 1 and 2: Llama with fused queries, keys and values (remote code).

The 13B models, whose config.json has model_max_length only, have ALiBi instead of rope. Baichuan 2
normalises the rows of its head; only the size of its vocabulary distinguishes it from Baichuan 1.
"""

from __future__ import annotations

from jaxmap.architectures import llama, rope
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, fused_qkv
from jaxmap.errors import InputError
from jaxmap.model.layers import alibi
from jaxmap.model.spec import Spec

PAPER = "Yang et al. 2023, arXiv:2309.10305"
PREFIX = llama.PREFIX
INERT_TENSORS = llama.INERT_TENSORS

HEAD_NORMED = {64_000: False, 125_696: True}  # by vocabulary: Baichuan 1, Baichuan 2


def spec(c: Config) -> Spec:
    shape = llama.shape(c)
    if shape["V"] not in HEAD_NORMED:
        raise InputError(
            f"{c.where}: vocab_size = {shape['V']}: whether the head is normalised is known "
            f"for {' and '.join(map(str, HEAD_NORMED))} only"
        )
    if shape["tied"] or shape["G"] != shape["H"]:
        raise InputError(f"{c.where}: tied heads or fewer key/value heads are not in this family")
    has_rope = c.get("max_position_embeddings") is not None
    if not HEAD_NORMED[shape["V"]] and "z_loss_weight" in c:
        raise InputError(
            f"{c.where}: z_loss_weight belongs to Baichuan 2, vocab_size to Baichuan 1"
        )
    c.inert("z_loss_weight", "_from_model_config", "model_max_length")
    return Spec(
        **shape,
        context=rope.context_of(c) if has_rope else c["model_max_length"],
        eps=c.get("rms_norm_eps", 1e-6),
        ropes=(rope.from_config(c, head_dim=shape["C"]),) if has_rope else (),
        alibi=None if has_rope else alibi.slopes(shape["H"]),
        head_normed=HEAD_NORMED[shape["V"]],
    )


def rows(spec: Spec) -> dict[str, Row]:
    name = "model.layers.{l}.self_attn.W_pack"
    return {
        **llama.rows(spec),
        **fused_qkv(name, "(p h c) d -> p d h c", "(p h c) -> p h c"),
    }


FAMILIES = {"baichuan": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}

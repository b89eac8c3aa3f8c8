"""HRM-Text: two stacks of gated attention that run several times, in a hierarchy.

The lower stack runs `L_cycles` times before each run of the higher one. Every run counts as layers
of its own.
"""

from __future__ import annotations

from jaxmap.architectures import llama, rope
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, QUERY, QUERY_BIAS, UP, Row, linear, renamed
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import OutGate
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Sapient Intelligence 2026, HRM-Text; Wang et al. 2025, arXiv:2506.21734"


def _runs(c: Config, each: int) -> tuple[Kind, ...]:
    """The kinds of the layers in the order in which they run, `each` in a stack."""
    high, low = c.get("H_cycles", 2), c.get("L_cycles", 3)
    if min(high, low) < 1:
        raise InputError(f"{c.where}: H_cycles = {high}, L_cycles = {low}: must be at least 1")
    kinds: list[Kind] = []
    for cycle in range(high):
        for turn in range(low):
            kinds += [Kind(stack="L_module", turn=cycle * low + turn)] * each
        kinds += [Kind(stack="H_module", turn=cycle)] * each
    return tuple(kinds)


def spec(c: Config) -> Spec:
    c.inert("num_key_value_heads", "L_bp_cycles")
    c.inert("prefix_lm")  # the tokens of an instruction see each other only if they are marked
    each = c.get("num_layers_per_stack") or c["num_hidden_layers"]
    kinds = _runs(c, each)
    facts = llama.shape(c, kv_heads=0, head_dim=128)
    scale = c.get("embedding_scale")
    bias = c.get("attention_bias", False)
    return Spec(
        **{**facts, "L": len(kinds), "G": facts["H"]},
        context=rope.context_of(c),
        eps=c.get("rms_norm_eps", 1e-6),
        norm_scale=False,
        kinds=kinds,
        hierarchical=True,
        layer_numbers=tuple(
            f"{stack}.layers.{i}" for stack in ("L_module", "H_module") for i in range(each)
        ),
        ropes=(rope.from_config(c, head_dim=facts["C"]),),
        embed_scale=1 / c.get("initializer_range", 0.02) if scale is None else scale,
        qkv_bias=bias,
        out_bias=bias,
        out_gate=OutGate(bias="channel" if bias else ""),
        mlp_bias=c.get("mlp_bias", False),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.{l}"
    attn, mlp = f"{layer}.self_attn", f"{layer}.mlp"
    found = {
        "embed": Row("model.embed_tokens.weight"),
        "head": Row("lm_head.weight"),
        "hierarchy/initial": Row("model.z_L_init"),
        **renamed(linear("blocks/attn/o", f"{layer}.attn.o_proj", OUT), ".attn.", ".self_attn."),
        **linear("blocks/mlp/down", f"{mlp}.down_proj", DOWN),
    }
    for i, (path, name) in enumerate(
        (("gate", "gate_proj"), ("q", "q_proj"), ("k", "k_proj"), ("v", "v_proj"))
    ):
        layout, bias = (QUERY, QUERY_BIAS) if i < 2 else ("(g c) d -> d g c", "(g c) -> g c")
        own = Row(f"{attn}.{name}.weight", layout)
        fused = layout.replace("(", "(p ").replace("-> ", "-> p ")
        found[f"blocks/attn/{path}/kernel"] = Row(
            f"{layer}.attn.gqkv_proj.weight", fused, (i, 4), otherwise=own
        )
        found[f"blocks/attn/{path}/bias"] = Row(f"{attn}.{name}.bias", bias)
    for i, part in enumerate(("gate", "up")):
        own = Row(f"{mlp}.{part}_proj.weight", UP)
        fused_up = Row(f"{mlp}.gate_up_proj.weight", "(p f) d -> p d f", (i, 2), otherwise=own)
        found[f"blocks/mlp/{part}/kernel"] = fused_up
        found[f"blocks/mlp/{part}/bias"] = Row(f"{mlp}.{part}_proj.bias")
    return found


FAMILIES = {"hrm_text": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}

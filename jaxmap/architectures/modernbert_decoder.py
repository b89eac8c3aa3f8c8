"""ModernBERT's decoder (Ettin): no norm before the first attention, windows in two of three layers.

Before the head, its states pass a projection, an activation and a norm, as in BERT; the lens reads
every layer through them.
"""

from __future__ import annotations

from typing import Any

from jaxmap.architectures import rope
from jaxmap.architectures.config import Config, head_width, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, Row, cut_gate_up, linear, norm, split_qkv
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Weller et al. 2025, arXiv:2507.11412; Warner et al. 2024, arXiv:2412.13663"
_ROPES = {
    "full_attention": ("global_rope_theta", 160_000.0),
    "sliding_attention": ("local_rope_theta", 10_000.0),
}


def _window(c: Config) -> int:
    """Tokens that a layer with a window sees: half of what ModernBERT sees on both sides."""
    both = c.get("local_attention", 128)
    own = both // 2 if both else 0
    c.require("sliding_window", (None, own, -1 if not both else own), None)
    return own


def spec(c: Config) -> Spec:
    L, D, H = c["num_hidden_layers"], c["hidden_size"], c["num_attention_heads"]
    C = head_width(c, D, H)
    every = c.get("global_attn_every_n_layers", 3)
    near = sliding_layers(c, L, lambda i: i % every != 0)
    window = _window(c)
    bias = c.get("attention_bias", False)
    c.inert("attention_dropout", "classifier_dropout", "embedding_dropout", "mlp_dropout")
    c.inert("classifier_pooling", "cls_token_id", "initializer_cutoff_factor")
    c.inert("deterministic_flash_attn", "position_embedding_type", "reference_compile")
    c.inert("repad_logits_with_grad")
    c.inert("sparse_pred_ignore_index", "sparse_prediction", "is_causal", "causal_mask")
    made: dict[str, Any] = dict(
        L=L,
        D=D,
        H=H,
        G=H,
        C=C,
        F=c["intermediate_size"],
        V=c["vocab_size"],
        context=c["max_position_embeddings"],
        kinds=(Kind(bare=frozenset({"attn_in"})), *(Kind(),) * (L - 1)),
        norm="layer",
        norm_bias=c.get("norm_bias", False),
        eps=c.get("norm_eps", 1e-5),
        qkv_bias=bias,
        out_bias=bias,
        ropes=tuple(
            rope.from_config(c, head_dim=C, theta_key=key, theta=theta, layer_type=layer_type)
            for layer_type, (key, theta) in _ROPES.items()
        ),
        rope_of=tuple(int(is_near) for is_near in near),
        window=tuple(window if is_near else 0 for is_near in near),
        act=c.get("hidden_activation", "gelu"),
        mlp_bias=c.get("mlp_bias", False),
        embed_norm=True,
        head_in_act=c.get("classifier_activation", "gelu"),
        head_in_bias=c.get("classifier_bias", False),
        head_bias=c.get("decoder_bias", True),
        tied=c.get("tie_word_embeddings", True),
    )
    return Spec(**made)


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    F = spec.F
    gates = cut_gate_up(f"{layer}.mlp.Wi", spec)
    for part, (start, stop) in {"gate": (0, F), "up": (F, 2 * F)}.items():
        gates[f"blocks/mlp/{part}/bias"] = Row(f"{layer}.mlp.Wi.bias", cut=(start, stop, 2 * F))
    return {
        "embed": Row("model.embeddings.tok_embeddings.weight"),
        **norm("embed_norm", "model.embeddings.norm"),
        **norm("final_norm", "model.final_norm"),
        **linear("head_in", "lm_head.dense", "z d -> d z"),
        **norm("head_norm", "lm_head.norm"),
        "head": Row("decoder.weight"),
        "head_bias": Row("decoder.bias"),
        **norm("blocks/attn_in", f"{layer}.attn_norm"),
        **split_qkv(f"{layer}.attn"),
        **linear("blocks/attn/o", f"{layer}.attn.Wo", OUT),
        **norm("blocks/mlp_in", f"{layer}.mlp_norm"),
        **gates,
        **linear("blocks/mlp/down", f"{layer}.mlp.Wo", DOWN),
    }


FAMILIES = {"modernbert-decoder": Family(PAPER, spec, rows, "model.", ())}

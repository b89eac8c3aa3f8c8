"""GPT-Neo: GPT-2 with unscaled attention, a window in chosen layers."""

from __future__ import annotations

from jaxmap.architectures.config import Config, head_width
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, UP, Row, linear, norm, split_qkv
from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

PAPER = "Black et al. 2021, doi:10.5281/zenodo.5297715"
PREFIX = "transformer."
INERT_TENSORS = (r"attn\.attention\.bias$", r"attn\.attention\.masked_bias$")


def _kinds(c: Config, L: int) -> list[str]:
    """The kind of attention of each layer; attention_types is a list of [[kinds], times]."""
    types = c.get("attention_types") or [[["global", "local"], 12]]
    kinds: list[str] = []
    for entry in types:
        if not (
            isinstance(entry, list)
            and len(entry) == 2
            and isinstance(entry[0], list)
            and isinstance(entry[1], int)
            and 0 <= len(entry[0]) * entry[1] <= L
        ):
            raise InputError(f"{c.where}: attention_types {entry!r:.60} does not fit {L} layers")
        kinds += entry[0] * entry[1]
    listed = c.get("attention_layers")
    if len(kinds) != L or (listed is not None and listed != kinds):
        raise InputError(f"{c.where}: attention_types gives {len(kinds)} of {L} layers, or others")
    if any(kind not in ("global", "local") for kind in kinds):
        raise InputError(f"{c.where}: unknown attention_types; known: global, local")
    return kinds


def spec(c: Config) -> Spec:
    L, D = c.first("num_layers", "num_hidden_layers"), c["hidden_size"]
    H = c.first("num_heads", "num_attention_heads")
    c.assume("max_position_embeddings", 2048)
    positions = c["max_position_embeddings"]
    window = c.get("window_size", 256)
    c.inert("attention_dropout", "embed_dropout", "resid_dropout", "classifier_dropout")
    c.inert(*(key for key in c if key.startswith("summary_")))
    return Spec(
        L=L,
        D=D,
        H=H,
        G=H,
        C=head_width(c, D, H),
        F=c.get("intermediate_size") or 4 * D,
        V=c["vocab_size"],
        context=positions,
        norm="layer",
        norm_bias=True,
        eps=c.get("layer_norm_epsilon", 1e-5),
        out_bias=True,
        scale=(1.0,) * L,
        window=tuple(window if kind == "local" else 0 for kind in _kinds(c, L)),
        act=c.get("activation_function", "gelu_new"),
        gated=False,
        mlp_bias=True,
        positions=positions,
        tied=c.get("tie_word_embeddings", True),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "transformer.h.{l}"
    return {
        "embed": Row("transformer.wte.weight"),
        "positions": Row("transformer.wpe.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "transformer.ln_f"),
        **norm("blocks/attn_in", f"{layer}.ln_1"),
        **split_qkv(f"{layer}.attn.attention"),
        **linear("blocks/attn/o", f"{layer}.attn.attention.out_proj", OUT),
        **norm("blocks/mlp_in", f"{layer}.ln_2"),
        **linear("blocks/mlp/up", f"{layer}.mlp.c_fc", UP),
        **linear("blocks/mlp/down", f"{layer}.mlp.c_proj", DOWN),
    }


FAMILIES = {"gpt_neo": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}

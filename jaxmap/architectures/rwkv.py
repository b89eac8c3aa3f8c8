"""RWKV-4: time mixing and channel mixing, no attention.

At inference transformers halves the residual stream, and the last projections of both mixings,
after every `rescale_every` layers so that it fits into float16. This only changes the effect of the
norms' epsilon. The embedding is normalised before the first block, so the lens reads the normalised
embedding at layer 0. There are no positions, so texts may have any length; context_length is the
length of the training texts.
"""

from __future__ import annotations

from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, UP, Row, linear, norm
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Peng et al. 2023, arXiv:2305.13048"
PREFIX = "rwkv."
INERT_TENSORS = ()


def spec(c: Config) -> Spec:
    D, L = c["hidden_size"], c["num_hidden_layers"]
    heads = c.get("attention_hidden_size") or D
    c.inert("context_length", "max_position_embeddings")
    return Spec(
        L=L,
        D=D,
        H=heads,
        G=heads,
        C=1,
        F=c.get("intermediate_size") or 4 * D,
        V=c["vocab_size"],
        context=None,
        kinds=(Kind(mixer="time_mix", mlp="channel_mix"),) * L,
        norm="layer",
        norm_bias=True,
        eps=c.get("layer_norm_epsilon", 1e-5),
        halve_every=max(c.get("rescale_every", 6), 0),
        embed_norm=True,
        final_eps=1e-5,  # always, whatever the other norms have
        tied=c.get("tie_word_embeddings", False),
    )


def rows(spec: Spec) -> dict[str, Row]:
    layer = "rwkv.blocks.{l}"
    time, channel = f"{layer}.attention", f"{layer}.feed_forward"
    made = {
        "embed": Row("rwkv.embeddings.weight"),
        "head": Row("head.weight"),
        **norm("embed_norm", "rwkv.blocks.0.pre_ln"),
        **norm("final_norm", "rwkv.ln_out"),
        **norm("blocks/attn_in", f"{layer}.ln1"),
        **norm("blocks/mlp_in", f"{layer}.ln2"),
        "blocks/attn/decay": Row(f"{time}.time_decay"),
        "blocks/attn/first": Row(f"{time}.time_first"),
        **linear("blocks/attn/o", f"{time}.output", "d h -> h d"),
        **linear("blocks/mlp/r", f"{channel}.receptance", "z d -> d z"),
        **linear("blocks/mlp/k", f"{channel}.key", UP),
        **linear("blocks/mlp/v", f"{channel}.value", DOWN),
    }
    for letter, name in {"r": "receptance", "k": "key", "v": "value"}.items():
        made |= linear(f"blocks/attn/{letter}", f"{time}.{name}", "h d -> d h")
        made[f"blocks/attn/share_{letter}"] = Row(f"{time}.time_mix_{name}", "1 1 d -> d")
        if letter != "v":
            made[f"blocks/mlp/share_{letter}"] = Row(f"{channel}.time_mix_{name}", "1 1 d -> d")
    return made


FAMILIES = {"rwkv": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}

"""Gemma 3n, text: Gemma 3 with four residual streams and embeddings for each layer.

Beside these, its last layers use the keys and values of earlier ones, and the gates of its first
MLPs keep a fixed share of their channels.
"""

from __future__ import annotations

import dataclasses
import math
from statistics import NormalDist

import numpy as np

from jaxmap.architectures import gemma2, llama, rope
from jaxmap.architectures.config import Config, sliding_layers
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row, linear, norm
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import QkNorm
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec
from jaxmap.model.streams import AltUp, LayerEmbedding

PAPER = "Google DeepMind 2025, Gemma 3n"
PREFIX = llama.PREFIX
# Files have projections of keys and values even of layers that use those of an earlier one, and a
# scale of the active stream even where altup_correct_scale says that it is not applied.
INERT_TENSORS = (
    *llama.INERT_TENSORS,
    r"\.self_attn\.(k_proj|v_proj|k_norm)\.",
    r"\.altup\.correct_output_scale$",
)


def shared_kinds(c: Config, near: tuple[bool, ...], shared: int) -> tuple[Kind, ...]:
    """The kind of each layer, where the last `shared` use the keys and values of earlier layers.

    `near` says which layers have a window. A layer with a window uses those of the last layer with
    a window that has its own, a layer without one those of the last without. Raises InputError if
    there is no such layer.
    """
    L = len(near)
    first = L - shared
    kinds = [Kind()] * L
    for is_near in sorted(set(near[first:])):
        name = "window" if is_near else "all"
        own = [i for i in range(first) if near[i] == is_near]
        if not own:
            raise InputError(
                f"{c.where}: num_kv_shared_layers = {shared} of {L} layers leaves none whose keys "
                f"could be used by layers {'with' if is_near else 'without'} a window"
            )
        kinds[own[-1]] = Kind(keeps=name)
        for i in range(first, L):
            if near[i] == is_near:
                kinds[i] = Kind(reads=name)
    return tuple(kinds)


def _cutoffs(c: Config, L: int) -> tuple[float, ...]:
    """Quantiles of the normal distribution for activation_sparsity_pattern; (): all dense."""
    shares = c.get("activation_sparsity_pattern")
    if shares is None:
        shares = [0.95 if L > 10 and i < 10 else 0.0 for i in range(L)]
    if not isinstance(shares, list) or len(shares) != L or any(not 0 <= s < 1 for s in shares):
        raise InputError(f"{c.where}: activation_sparsity_pattern must be {L} numbers below 1")
    quantile = NormalDist().inv_cdf
    found = tuple(quantile(float(np.float32(s))) if s else -math.inf for s in shares)
    return found if any(shares) else ()


def spec(c: Config) -> Spec:
    widths = c.by_layer("intermediate_size", c["num_hidden_layers"])
    facts = llama.shape(
        c,
        kv_heads=2,
        head_dim=256,
        act_key="hidden_activation",
        act="gelu_pytorch_tanh",
        tied=True,
    )
    L, C = facts["L"], facts["C"]
    near = sliding_layers(c, L, lambda i: (i + 1) % 5 != 0)
    kinds = shared_kinds(c, near, c.get("num_kv_shared_layers", 15))
    eps = c.get("rms_norm_eps", 1e-6)
    bias = c.get("attention_bias", False)
    window = c.get("sliding_window", 512)
    c.inert("altup_coef_clip")  # a bound that only training applies
    return Spec(
        **facts,
        context=c.get("max_position_embeddings", 32_768),
        kinds=tuple(
            dataclasses.replace(kind, F=width if width != widths[0] else 0)
            for kind, width in zip(kinds, widths, strict=True)
        ),
        norms=gemma2.SANDWICH,
        eps=eps,
        embed_scale=facts["D"] ** 0.5,
        altup=AltUp(
            streams=c.get("altup_num_inputs", 4),
            active=c.get("altup_active_idx", 0),
            scaled=c.get("altup_correct_scale", True),
        ),
        laurel_rank=c.get("laurel_rank", 64),
        layer_embedding=LayerEmbedding(
            width=c.get("hidden_size_per_layer_input", 256),
            V=c.get("vocab_size_per_layer_input", 262_144),
        ),
        cutoff=_cutoffs(c, L),
        qkv_bias=bias,
        out_bias=bias,
        qk_norm=QkNorm("head", "rms", eps),
        v_norm=True,
        scale=(1.0,) * L,
        logit_softcap=c.get("final_logit_softcapping", 30.0) or 0.0,
        ropes=(
            rope.from_config(c, head_dim=C, theta=1e6, layer_type="full_attention"),
            rope.from_config(
                c, head_dim=C, theta_key="rope_local_base_freq", layer_type="sliding_attention"
            ),
        ),
        rope_of=tuple(int(is_near) for is_near in near),
        window=tuple(window if is_near else 0 for is_near in near),
    )


def layer_embedding_rows() -> dict[str, Row]:
    """The embeddings for each layer, and the branch of a layer that reads them."""
    layer = "model.layers.{l}"
    return {
        "layer_embeddings/table": Row("model.embed_tokens_per_layer.weight", "v (l p) -> v l p"),
        "layer_embeddings/project/kernel": Row(
            "model.per_layer_model_projection.weight", "(l p) d -> d l p"
        ),
        **norm("layer_embeddings/norm", "model.per_layer_projection_norm"),
        **linear("blocks/embedding/gate", f"{layer}.per_layer_input_gate", "p d -> d p"),
        **linear("blocks/embedding/project", f"{layer}.per_layer_projection", "d p -> p d"),
        **norm("blocks/embedding/norm", f"{layer}.post_per_layer_input_norm"),
    }


def _stream_rows(spec: Spec) -> dict[str, Row]:
    """The projections of every stream but the first, before the layers and after them."""
    assert spec.altup is not None
    parts = {"enter": "altup_projections", "leave": "altup_unembed_projections"}
    return {
        f"streams/{part}/{i}/kernel": Row(f"model.{name}.{i}.weight", "z d -> d z")
        for part, name in parts.items()
        for i in range(spec.altup.streams - 1)
    }


def rows(spec: Spec) -> dict[str, Row]:
    layer = "model.layers.{l}"
    altup, laurel = f"{layer}.altup", f"{layer}.laurel"
    return {
        **gemma2.rows(spec),
        **norm("blocks/attn/q_norm", f"{layer}.self_attn.q_norm"),
        **norm("blocks/attn/k_norm", f"{layer}.self_attn.k_norm"),
        **layer_embedding_rows(),
        **_stream_rows(spec),
        **norm("blocks/altup/router_norm", f"{altup}.router_norm"),
        **linear("blocks/altup/router", f"{altup}.modality_router", "p d -> d p"),
        **linear("blocks/altup/predict", f"{altup}.prediction_coefs", "(j i) p -> p j i"),
        **linear("blocks/altup/correct", f"{altup}.correction_coefs", "j p -> p j"),
        "blocks/altup/scale": Row(f"{altup}.correct_output_scale"),
        **linear("blocks/laurel/left", f"{laurel}.linear_left", "z d -> d z"),
        **linear("blocks/laurel/right", f"{laurel}.linear_right", "d z -> z d"),
        **norm("blocks/laurel/norm", f"{laurel}.post_laurel_norm"),
    }


FAMILIES = {"gemma3n_text": Family(PAPER, spec, rows, PREFIX, INERT_TENSORS)}

"""xLSTM 7B: blocks of an mLSTM, a memory of matrices, and an MLP."""

from __future__ import annotations

import dataclasses

from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import DOWN, OUT, QUERY, QUERY_BIAS, UP, Row, linear, norm
from jaxmap.errors import InputError
from jaxmap.model.layer_kind import Kind
from jaxmap.model.recurrent_facts import Mlstm
from jaxmap.model.spec import Spec

PAPER = "Beck et al. 2025, arXiv:2503.13427; Beck et al. 2024, arXiv:2405.04517"
# Settings of the kernels, of training and of generation, which change no score.
_INERT = """
    add_embedding_dropout add_forward_backend_padding add_out_norm add_post_blocks_norm
    add_post_norm add_qk_norm autocast_kernel_dtype chunk_size chunkwise_kernel embedding_dropout
    force_bos_token_insert head_dim igate_bias_init_range lm_head_bias max_inference_chunksize
    mlstm_round_up_to_multiple_of mode norm_reduction_force_float32 return_last_states
    sequence_kernel step_kernel tie_word_embeddings unembedding weight_mode
""".split()


def _heads(c: Config, D: int, H: int, key: str, default: float) -> int:
    """The channels of a head, of D times a factor in all."""
    width = int(D * c.get(key, default))
    if width < H or width % H:
        raise InputError(f"{c.where}: {key}: {width} channels do not divide into {H} heads")
    return width // H


def spec(c: Config) -> Spec:
    D, L = c.first("hidden_size", "embedding_dim"), c.first("num_hidden_layers", "num_blocks")
    H = c.get("num_heads", 8)
    c.inert(*_INERT)
    c.require("inference_state_dtype", ("float32",), "float32")
    multiple = c.get("ffn_round_up_to_multiple_of", 64)
    F = int((D * c.get("ffn_proj_factor", 2.667) + multiple - 1) // multiple * multiple)
    bias = c.get("use_bias", False)
    K = _heads(c, D, H, "qk_dim_factor", 0.5)
    return Spec(
        L=L,
        D=D,
        H=H,
        G=H,
        C=K,
        F=F,
        V=c.get("vocab_size", 50_304),
        context=None,
        kinds=(Kind(mixer="mlstm"),) * L,
        eps=c.get("norm_eps", 1e-6),
        norm_bias=bias,
        final_bias=False,
        qkv_bias=bias,
        out_bias=bias,
        mlp_bias=bias,
        mlstm=Mlstm(
            K=K,
            C=_heads(c, D, H, "v_dim_factor", 1.0),
            gate_softcap=c.get("gate_soft_cap", 15.0) or 0.0,
            eps=c.get("eps", 1e-6),
        ),
        logit_softcap=c.get("output_logit_soft_cap", 30.0) or 0.0,
    )


def _either(rows: dict[str, Row], fused: str, starts: dict[str, tuple[int, int]]) -> dict[str, Row]:
    """Rows of Linears, which may be in one Linear after another.

    Args:
      rows: their kernels and biases.
      fused: the name of the one Linear.
      starts: the first and the last row + 1 of each path's beginning.
    """
    total, found = max(stop for _, stop in starts.values()), {}
    for path, row in rows.items():
        start, stop = starts[path.rpartition("/")[0]]
        tensor = "bias" if path.endswith("/bias") else "weight"
        together = Row(f"{fused}.{tensor}", row.layout, cut=(start, stop, total))
        found[path] = dataclasses.replace(row, otherwise=together)
    return found


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.mlstm is not None
    H, K, C, F = spec.H, spec.mlstm.K, spec.mlstm.C, spec.F
    block, path = "backbone.blocks.{l}", "blocks/attn"
    cell, ffn = f"{block}.mlstm_layer", f"{block}.ffn"
    names = {"query": "q", "key": "k", "value": "v", "out_gate": "ogate_preact"}
    heads: dict[str, Row] = {}
    for part, name in names.items():
        heads[f"{path}/{part}/kernel"] = Row(f"{cell}.{name}.weight", QUERY)
        heads[f"{path}/{part}/bias"] = Row(f"{cell}.{name}.bias", QUERY_BIAS)
    gates = linear(f"{path}/write", f"{cell}.igate_preact", "h d -> d h")
    gates |= linear(f"{path}/keep", f"{cell}.fgate_preact", "h d -> d h")
    up = linear("blocks/mlp/gate", f"{ffn}.proj_up_gate", UP)
    up |= linear("blocks/mlp/up", f"{ffn}.proj_up", UP)
    q, v = H * K, H * C
    return {
        "embed": Row("backbone.embeddings.weight"),
        "head": Row("lm_head.weight"),
        **norm("final_norm", "backbone.out_norm"),
        **norm("blocks/attn_in", f"{block}.norm_mlstm"),
        **norm("blocks/mlp_in", f"{block}.norm_ffn"),
        **_either(
            heads,
            f"{cell}.qkv_opreact",
            {
                f"{path}/query": (0, q),
                f"{path}/key": (q, 2 * q),
                f"{path}/value": (2 * q, 2 * q + v),
                f"{path}/out_gate": (2 * q + v, 2 * q + 2 * v),
            },
        ),
        **_either(
            gates, f"{cell}.ifgate_preact", {f"{path}/write": (0, H), f"{path}/keep": (H, 2 * H)}
        ),
        f"{path}/norm/scale": Row(f"{cell}.multihead_norm.weight", QUERY_BIAS),
        f"{path}/norm/bias": Row(f"{cell}.multihead_norm.bias", QUERY_BIAS),
        **linear(f"{path}/out", f"{cell}.out_proj", OUT),
        **_either(
            up,
            f"{ffn}.proj_up_gate_z",
            {"blocks/mlp/gate": (0, F), "blocks/mlp/up": (F, 2 * F)},
        ),
        **linear("blocks/mlp/down", f"{ffn}.proj_down", DOWN),
    }


FAMILIES = {"xlstm": Family(PAPER, spec, rows, "backbone.", ())}

"""Qwen4-Exp: Qwen3.5 with experts, gated residual streams and hashed embeddings of n-grams.

Layers of softmax attention have an indexer, which chooses blocks of neighbouring keys, and keeps
the last ones, which fill no block. It chooses all blocks in short texts (`Spec.dense_up_to`), so
that its weights are not needed.
"""

from __future__ import annotations

import math

from jaxmap.architectures import deepseek_v32, llama, qwen2_moe, qwen3_5, qwen3_next
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import Row
from jaxmap.errors import InputError
from jaxmap.model.attention_facts import OutGate, QkNorm
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec
from jaxmap.model.streams import GatedStreams, NGrams

PAPER = "Qwen Team 2026, Qwen4-Exp"
INERT_TENSORS = (
    *qwen3_5.INERT_TENSORS,
    deepseek_v32.INDEXER,
    # Whole numbers that follow from config.json.
    r"\.ple_embedding\.(layer_multipliers|ngram_heads_(vocab_sizes|offsets))$",
)
_MIXERS = {
    "linear_attention": "delta",
    "indexed_attention": "attention",
    "full_attention": "attention",
}
_64_BITS = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio


def _scrambled(state: int) -> int:
    """The output of SplitMix64 (Steele et al. 2014, doi:10.1145/2660193.2660195) for a state."""
    state = (state + _STEP) & _64_BITS
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> shift)) * factor & _64_BITS
    return state ^ (state >> 31)


def _factors(V: int, n: int, layer: int, seed: int) -> tuple[int, ...]:
    """The odd factors of the hashes of one of the layers that have embeddings, from 0."""
    half = max(1, ((1 << 63) - 1) // max(V, 1) // 2)
    start = seed + 10_007 * layer
    states = ((start + _STEP * (i + 1)) & _64_BITS for i in range(n))
    return tuple(2 * (_scrambled(state) % half) + 1 for state in states)


def _primes(least: int, count: int) -> list[int]:
    """The first primes that are not below `least`."""
    found: list[int] = []
    number = max(2, least)
    while len(found) < count:
        if all(number % d for d in range(2, math.isqrt(number) + 1)):
            found.append(number)
        number += 1
    return found


def _ngrams(c: Config, V: int, layers: list[int]) -> tuple[NGrams, ...]:
    """The facts of the embeddings of n-grams in each layer that has them."""
    n, heads = c.get("ngram_size", 3), c.get("heads_per_ngram", 8)
    base, multiple = c.get("ngram_vocab_size_base", 20_000_000), 128
    multiple = c.get("make_ngram_vocab_size_divisible_by", multiple)
    parts, seed = c.get("split_ngram_parts", 512), c.get("seed", 1234)
    width, taps = c.get("ple_embed_dim") or c["hidden_size"], c.get("ple_conv_kernel_size", 4)
    end = c.get("eos_token_id")
    end = end[0] if isinstance(end, list) and end else end
    if not layers:
        return ()
    if type(end) is not int or not 0 <= end < V:
        raise InputError(f"{c.where}: eos_token_id = {end!r}: must be a token of the vocabulary")
    hashes = (n - 1) * heads
    primes = _primes(base, hashes * len(layers))
    made = []
    for i in range(len(layers)):
        moduli = tuple(primes[i * hashes : (i + 1) * hashes])
        rows = -(-sum(moduli) // multiple) * multiple
        made.append(
            NGrams(
                factors=_factors(V, n, i, seed),
                moduli=moduli,
                rows=rows,
                parts=1 if rows % parts else parts,
                width=width,
                taps=taps,
                end_id=end,
            )
        )
    return tuple(made)


def _mixers(c: Config, L: int) -> list[str]:
    types, every = c.get("layer_types"), c.get("full_attention_interval", 4)
    if types is None:
        types = ["linear_attention" if (i + 1) % every else "full_attention" for i in range(L)]
    if len(types) != L or set(types) - set(_MIXERS):
        raise InputError(f"{c.where}: layer_types must be {L} of {sorted(_MIXERS)}")
    return [_MIXERS[kind] for kind in types]


def spec(c: Config) -> Spec:
    c.assume("intermediate_size", 1)  # no layer is dense
    c.require("mlp_only_layers", ([], None), None)
    c.require("attn_output_gate", (True,), True)
    c.inert("mamba_ssm_dtype", "mtp_num_hidden_layers", "mtp_use_dedicated_embeddings")
    c.inert("output_router_logits", "router_aux_loss_coef")
    c.inert("indexer_n_heads", "indexer_kv_heads", "indexer_head_dim", "number_of_conv_states")
    rope_facts = dict(partial_key="partial_rotary_factor")
    sizes = llama.sizes(c, kv_heads=2, head_dim=256, rope_facts=rope_facts)
    L, bias = sizes["L"], c.get("attention_bias", False)
    layers = sorted(set(c.get("ple_layer_ids") or ()))
    mixers = _mixers(c, L)
    if any(not 1 <= i <= L or mixers[i - 1] != "delta" for i in layers):
        raise InputError(f"{c.where}: ple_layer_ids = {layers}: must be layers of linear attention")
    gate = c.get("output_gate_type") or sizes["act"]
    if gate not in ("sigmoid", "silu"):
        raise InputError(f"{c.where}: output_gate_type = {gate!r}: must be sigmoid or silu")
    return Spec(
        **sizes,
        dense_up_to=c["indexer_budget"] + c["indexer_compress_ratio"] - 1,
        norms=frozenset(),
        final_norm=False,
        gated_streams=GatedStreams(c.get("hc_count", 4), c.get("hc_lowrank", 320)),
        ngrams=_ngrams(c, sizes["V"], layers),
        kinds=tuple(
            Kind(mixer, "experts", ngrams=layers.index(i) + 1 if i in layers else 0)
            for i, mixer in enumerate(mixers, 1)
        ),
        delta=qwen3_next.delta(c, gate=gate),
        qkv_bias=bias,
        out_bias=bias,
        out_gate=OutGate(bias="channel" if bias else ""),
        qk_norm=QkNorm("head", "rms", sizes["eps"], offset=1.0),
        experts=Experts(
            E=c.get("num_experts", 512),
            k=c.get("num_experts_per_tok", 10),
            F=c.get("moe_intermediate_size", 512),
            renorm=c.get("norm_topk_prob", True),
            shared_F=c.get("shared_expert_intermediate_size", 512),
            shared_gate=True,
        ),
    )


def _connection(path: str, name: str) -> dict[str, Row]:
    """The rows of `GatedResidual`."""
    return {
        f"{path}/norm/scale": Row(f"{name}.hc_norm.weight", "(p d) -> p d"),
        f"{path}/down/kernel": Row(f"{name}.input_mix_weight_down.weight", "z (p d) -> p d z"),
        f"{path}/up/kernel": Row(f"{name}.input_mix_weight_up.weight", "(p d) z -> z p d"),
        f"{path}/inject/kernel": Row(f"{name}.block_inject_weight.weight", "k (p d) -> p d k"),
    }


def _embeddings(name: str) -> dict[str, Row]:
    """The rows of `NGramBranch`, whose table is in several tensors, or in one."""
    table = f"{name}.ple_embedding.ngram_embedding"
    joined = Row(f"{table}.weight", "(s r) c -> s r c")
    return {
        "blocks/ngrams/table": Row(f"{table}.shard_{{e}}.weight", otherwise=joined),
        "blocks/ngrams/key/kernel": Row(f"{name}.key_proj.weight", "(p d) e -> e p d"),
        "blocks/ngrams/value/kernel": Row(f"{name}.value_proj.weight", "d e -> e d"),
        "blocks/ngrams/taps": Row(f"{name}.conv1d.weight", "(p d) 1 w -> p d w"),
        **{
            f"blocks/ngrams/{part}_norm/scale": Row(f"{name}.norm_{part}.weight", "(p d) -> p d")
            for part in ("key", "query", "conv")
        },
    }


def rows(spec: Spec) -> dict[str, Row]:
    assert spec.delta is not None
    layer = "model.layers.{l}"
    return {
        **qwen2_moe.rows(spec),
        **qwen3_next.gated_attention(f"{layer}.self_attn"),
        **qwen3_next.delta_rows(f"{layer}.linear_attn", spec.delta),
        **qwen3_5.apart(f"{layer}.linear_attn", spec.delta),
        **_connection("blocks/attn_hyper", f"{layer}.attn_hyper_connection"),
        **_connection("blocks/mlp_hyper", f"{layer}.mlp_hyper_connection"),
        **_connection("streams/mixer", "model.hyper_connection_mixer"),
        **_embeddings(f"{layer}.ple"),
    }


FAMILIES = {"qwen4_exp_text": Family(PAPER, spec, rows, llama.PREFIX, INERT_TENSORS)}

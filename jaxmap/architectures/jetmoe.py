"""JetMoE: experts of attention heads and experts of MLPs, with a bias after each sum."""

from __future__ import annotations

from jaxmap.architectures import llama
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.rows import ROUTER, Row
from jaxmap.model.expert_facts import Experts
from jaxmap.model.layer_kind import Kind
from jaxmap.model.spec import Spec

PAPER = "Shen et al. 2024, arXiv:2404.07413"


def spec(c: Config) -> Spec:
    k, G = c.get("num_experts_per_tok", 2), c.get("num_key_value_heads", 16)
    # The reference makes the number of query heads out of these, whatever the file says.
    c.assume("num_attention_heads", k * G)
    width = c.get("kv_channels", 128)
    sizes = llama.sizes(c, head_dim=width, act_key="activation_function", tied=True)
    c.inert("output_router_logits", "aux_loss_coef")
    experts = Experts(E=c.get("num_local_experts", 8), k=k, F=sizes["F"], renorm=True, bias_D=True)
    return Spec(
        # The norms of layers have the default epsilon, whatever config.json says.
        **{**sizes, "H": k * G, "G": G, "C": width, "eps": 1e-6},
        final_eps=sizes["eps"],
        kinds=(Kind("routed_attention", "experts"),) * sizes["L"],
        experts=experts,
    )


def rows(spec: Spec) -> dict[str, Row]:
    attn, mlp = "model.layers.{l}.self_attention", "model.layers.{l}.mlp"
    both, turned = "e (p f) d -> p e d f", "e z d -> e d z"
    return {
        **llama.rows(spec),
        "blocks/attn/router/kernel": Row(f"{attn}.experts.router.layer.weight", ROUTER),
        "blocks/attn/queries/kernel": Row(f"{attn}.experts.input_linear.weight", turned),
        "blocks/attn/outputs/kernel": Row(f"{attn}.experts.output_linear.weight", "e d z -> e z d"),
        "blocks/attn/bias": Row(f"{attn}.experts.bias"),
        **{
            f"blocks/attn/{letter}/kernel": Row(
                f"{attn}.kv_proj.weight", "(p g c) d -> p d g c", (i, 2)
            )
            for i, letter in enumerate("kv")
        },
        "blocks/mlp/router/kernel": Row(f"{mlp}.router.layer.weight", ROUTER),
        "blocks/mlp/expert_gate/kernel": Row(f"{mlp}.input_linear.weight", both, (0, 2)),
        "blocks/mlp/expert_up/kernel": Row(f"{mlp}.input_linear.weight", both, (1, 2)),
        "blocks/mlp/expert_down/kernel": Row(f"{mlp}.output_linear.weight", "e d f -> e f d"),
        "blocks/mlp/bias": Row(f"{mlp}.bias"),
    }


FAMILIES = {"jetmoe": Family(PAPER, spec, rows, llama.PREFIX, llama.INERT_TENSORS)}

"""Llama in plain PyTorch, written from the papers: for types that transformers does not implement.

Touvron et al. 2023 (arXiv:2302.13971) with what some descendants change: key/value heads that
differ from layer to layer (DeciLM), factors (MiniCPM, arXiv:2404.06395, section 4), layer norms
(Orion), linear biases (Press et al. 2021, arXiv:2108.12409, in Baichuan-13B) and a normalised head
(Baichuan 2, arXiv:2309.10305, section 2.5).
"""

from __future__ import annotations

import dataclasses
import math
from types import SimpleNamespace

import torch
from torch.nn import functional as F


@dataclasses.dataclass(frozen=True)
class Facts:
    """What the oracle computes; sizes as in jaxmap.model.spec."""

    kv_heads: tuple[int, ...] = (2, 2, 2)  # per layer
    D: int = 40
    H: int = 4
    C: int = 10
    F: int = 52
    V: int = 97
    eps: float = 0.02
    theta: float | None = 10_000.0  # None: linear biases instead of rope
    layer_norm: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    embed_scale: float = 1.0
    branch_scale: float = 1.0
    logit_scale: float = 1.0
    head_normed: bool = False
    tied: bool = False


def random_weights(facts: Facts, seed: int = 0) -> dict[str, torch.Tensor]:
    """Every tensor random, under Llama's names."""
    f, shapes = facts, {}
    shapes["model.embed_tokens.weight"] = (f.V, f.D)
    norms = ["model.norm"]
    for i, G in enumerate(f.kv_heads):
        layer = f"model.layers.{i}"
        norms += [f"{layer}.input_layernorm", f"{layer}.post_attention_layernorm"]
        for name, heads in {"q": f.H, "k": G, "v": G}.items():
            shapes[f"{layer}.self_attn.{name}_proj.weight"] = (heads * f.C, f.D)
            if f.qkv_bias:
                shapes[f"{layer}.self_attn.{name}_proj.bias"] = (heads * f.C,)
        shapes[f"{layer}.self_attn.o_proj.weight"] = (f.D, f.H * f.C)
        if f.out_bias:
            shapes[f"{layer}.self_attn.o_proj.bias"] = (f.D,)
        shapes[f"{layer}.mlp.gate_proj.weight"] = (f.F, f.D)
        shapes[f"{layer}.mlp.up_proj.weight"] = (f.F, f.D)
        shapes[f"{layer}.mlp.down_proj.weight"] = (f.D, f.F)
    for name in norms:
        shapes[f"{name}.weight"] = (f.D,)
        if f.layer_norm:
            shapes[f"{name}.bias"] = (f.D,)
    if not f.tied:
        shapes["lm_head.weight"] = (f.V, f.D)
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, shape in shapes.items():
        spread = 0.3 if len(shape) == 1 else 1.2 / shape[-1] ** 0.5
        centre = 1.0 if name.endswith("norm.weight") else 0.0
        made[name] = centre + spread * torch.randn(shape, generator=generator)
    return made


class Oracle:
    """Called like a transformers model: ids [B, T] -> an object with logits [B, T, V]."""

    def __init__(self, facts: Facts, weights: dict[str, torch.Tensor]):
        self.facts, self.weights = facts, weights

    def __call__(self, ids: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.stack([self.lens_logits(one)[-1] for one in ids]))

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights.get(f"{name}.bias"))

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        weight, eps = self.weights[f"{name}.weight"], self.facts.eps
        if self.facts.layer_norm:
            return F.layer_norm(x, x.shape[-1:], weight, self.weights[f"{name}.bias"], eps)
        return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * weight

    def _turned(self, x_HTC: torch.Tensor) -> torch.Tensor:
        """Channel i and i + C/2 are one complex number, turned by t theta^(-2i/C)."""
        T, C = x_HTC.shape[1:]
        rate = self.facts.theta ** (-torch.arange(0, C, 2).double() / C)
        angle = torch.outer(torch.arange(T).double(), rate)
        z = torch.complex(x_HTC[..., : C // 2].double(), x_HTC[..., C // 2 :].double())
        z = z * torch.polar(torch.ones_like(angle), angle)
        return torch.cat([z.real, z.imag], -1).float()

    def _slopes(self) -> list[float]:
        """2^(-8/n), 2^(-16/n), ... for a power of two n; the rest from between, as for 2n."""
        H = self.facts.H
        n = 2 ** int(math.log2(H))
        first = [2 ** (-8 * i / n) for i in range(1, n + 1)]
        return first + [2 ** (-8 * i / (2 * n)) for i in range(1, 2 * n, 2)][: H - n]

    def _attention(self, name: str, x: torch.Tensor, G: int) -> torch.Tensor:
        f, T = self.facts, len(x)
        q, k, v = (
            self._linear(f"{name}.{part}_proj", x).reshape(T, -1, f.C).transpose(0, 1)
            for part in "qkv"
        )
        if f.theta is not None:
            q, k = self._turned(q), self._turned(k)
        k, v = (z.repeat_interleave(f.H // G, 0) for z in (k, v))
        score = q @ k.transpose(1, 2) / f.C**0.5
        step = torch.arange(T)
        if f.theta is None:
            distance = step[:, None] - step
            score = score - torch.tensor(self._slopes())[:, None, None] * distance
        score = score.masked_fill(step[:, None] < step, -math.inf)
        mixed = score.softmax(-1) @ v
        return self._linear(f"{name}.o_proj", mixed.transpose(0, 1).reshape(T, -1))

    def lens_logits(self, ids: torch.Tensor) -> torch.Tensor:
        """What the stream says before each block and after the last, [L + 1, T, V]."""
        f = self.facts
        x = self.weights["model.embed_tokens.weight"][ids] * f.embed_scale
        states = [x]
        for i, G in enumerate(f.kv_heads):
            layer = f"model.layers.{i}"
            h = self._norm(f"{layer}.input_layernorm", x)
            x = x + f.branch_scale * self._attention(f"{layer}.self_attn", h, G)
            h = self._norm(f"{layer}.post_attention_layernorm", x)
            gate, up = (self._linear(f"{layer}.mlp.{part}_proj", h) for part in ("gate", "up"))
            x = x + f.branch_scale * self._linear(f"{layer}.mlp.down_proj", F.silu(gate) * up)
            states.append(x)
        head = self.weights["model.embed_tokens.weight" if f.tied else "lm_head.weight"]
        if f.head_normed:
            head = head / head.norm(dim=1, keepdim=True)
        return self._norm("model.norm", torch.stack(states)) @ head.T * f.logit_scale

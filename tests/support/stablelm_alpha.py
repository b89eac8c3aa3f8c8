"""StableLM-Alpha v2 in plain PyTorch, written from its training configuration.

transformers has no such class. A block is x + A(n(x)) + M(n(x)) with one layer norm n; a quarter
of each head is turned, half by half (Su et al. 2021, arXiv:2104.09864); M(y) = W2 (a ⊙ silu(b)),
a and b the halves of W1 y. Each head's query, key and value lie one after another.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file
from torch.nn import functional as F

CONFIG = dict(
    model_type="stablelm_alpha",
    vocab_size=97,
    hidden_size=48,
    num_hidden_layers=2,
    num_heads=3,
    max_position_embeddings=128,
    norm_eps=0.02,
    hidden_act="silu",
    rotary_pct=0.5,
    rotary_emb_base=500,
    rotary_scaling_factor=1.0,
    tie_word_embeddings=False,
)


class StableLmAlpha:
    """Every weight random; called like a model of transformers."""

    def __init__(self, config: dict = CONFIG):
        self.config = config
        D, V, inner = config["hidden_size"], config["vocab_size"], 256
        shapes = {"transformer.embed": (V, D), "lm_head": (V, D)}
        for i in range(config["num_hidden_layers"]):
            layer = f"transformer.layers.{i}"
            shapes[f"{layer}.attention.qkv_proj"] = (3 * D, D)
            shapes[f"{layer}.attention.out_proj"] = (D, D)
            shapes[f"{layer}.mlp.gate_proj"] = (2 * inner, D)
            shapes[f"{layer}.mlp.out_proj"] = (D, inner)
        random = torch.Generator().manual_seed(0)
        self.weights = {
            f"{name}.weight": torch.randn(shape, generator=random) * 1.2 / shape[1] ** 0.5
            for name, shape in shapes.items()
        }
        norms = [f"{name.split('.mlp')[0]}.norm" for name in shapes if ".mlp.out" in name]
        for name in (*norms, "transformer.final_norm"):
            self.weights[f"{name}.weight"] = 1 + 0.3 * torch.randn(D, generator=random)
            self.weights[f"{name}.bias"] = 0.3 * torch.randn(D, generator=random)

    def save(self, folder: Path) -> None:
        save_file(self.weights, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps(self.config))

    def __call__(self, ids: torch.Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=torch.stack([self.lens_logits(one)[-1] for one in ids]))

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return x @ self.weights[f"{name}.weight"].T

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        weight, bias = (self.weights[f"{name}.{part}"] for part in ("weight", "bias"))
        return F.layer_norm(x, x.shape[-1:], weight, bias, self.config["norm_eps"])

    def _turned(self, x_THC: torch.Tensor) -> torch.Tensor:
        T, _, C = x_THC.shape
        dims = int(C * self.config["rotary_pct"])
        rate = self.config["rotary_emb_base"] ** (-torch.arange(0, dims, 2) / dims)
        angle = (torch.arange(T)[:, None] * rate)[:, None]
        a, b, rest = x_THC.split([dims // 2, dims // 2, C - dims], dim=-1)
        cos, sin = angle.cos(), angle.sin()
        return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1)

    def _attention(self, name: str, x: torch.Tensor) -> torch.Tensor:
        T, D = x.shape
        H = self.config["num_heads"]
        q, k, v = self._linear(f"{name}.qkv_proj", x).view(T, H, 3 * D // H).chunk(3, dim=-1)
        q, k = self._turned(q), self._turned(k)
        score = torch.einsum("thc,shc->hts", q, k) * (D // H) ** -0.5
        score = score.masked_fill(torch.ones(T, T).triu(1).bool(), -torch.inf)
        mixed = torch.einsum("hts,shc->thc", score.softmax(-1), v).reshape(T, D)
        return self._linear(f"{name}.out_proj", mixed)

    def lens_logits(self, ids: torch.Tensor) -> torch.Tensor:
        """What the stream says before each block and after the last, [L + 1, T, V]."""
        x = self.weights["transformer.embed.weight"][ids]
        states = [x]
        for i in range(self.config["num_hidden_layers"]):
            layer = f"transformer.layers.{i}"
            y = self._norm(f"{layer}.norm", x)
            value, gate = self._linear(f"{layer}.mlp.gate_proj", y).chunk(2, dim=-1)
            inner = self._linear(f"{layer}.mlp.out_proj", value * F.silu(gate))
            x = x + self._attention(f"{layer}.attention", y) + inner
            states.append(x)
        return self._linear("lm_head", self._norm("transformer.final_norm", torch.stack(states)))

"""Models quantised by bitsandbytes on the CPU, where transformers would quantise them."""

from __future__ import annotations

import os

# Set before torch is imported: bitsandbytes would compile its CPU functions with a C++ compiler.
os.environ["TORCHDYNAMO_DISABLE"] = "1"

import numpy as np
import torch
from bitsandbytes import functional
from torch import nn
from transformers.pytorch_utils import Conv1D
from transformers.quantizers.base import get_keys_to_not_convert
from transformers.quantizers.quantizers_utils import should_convert_module


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The layers that transformers gives to bitsandbytes, by name, but for PhiMoE's router.

    That one inherits from Linear; other routers of transformers 5 do not, or (LongCat-Flash's
    classifier) stay in float32. Of Gemma 4's and Trinity's routers bitsandbytes would take the
    projection, which is left alone here, as all routers are.
    """
    skipped = get_keys_to_not_convert(model)
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D)
        and not type(module).__name__.endswith("Router")
        and not name.endswith(("router.classifier", "router.gate", "router.proj"))
        and should_convert_module(name, skipped)
    }


def routed_experts(model: nn.Module) -> dict[str, nn.Module]:
    """The modules that hold all experts of a layer in one parameter, by name."""
    return {name: m for name, m in model.named_modules() if hasattr(m, "gate_up_proj")
            and getattr(m.gate_up_proj, "ndim", 0) == 3}  # fmt: skip


class Experts(nn.Module):
    """Routed experts of three linear layers each, as they were in transformers 4.

    GPT-OSS holds them (in, out), gate and up by turns, with biases; Aria holds them (in, out).
    """

    def __init__(self, joined: nn.Module, variant: str):
        super().__init__()
        self.joined, gpt_oss = joined, hasattr(joined, "alpha")
        # Its class says so to functions that are called in the place of its own.
        turned = gpt_oss or type(joined).__name__ == "AriaExperts"
        layers = []
        for e in range(len(joined.down_proj)):
            both, down = joined.gate_up_proj[e].data, joined.down_proj[e].data
            biases = [None] * 3
            if turned:
                both, down = both.T, down.T
            if gpt_oss:
                bias = joined.gate_up_proj_bias[e].data
                biases = [bias[::2], bias[1::2], joined.down_proj_bias[e].data]
            gate, up = (both[::2], both[1::2]) if gpt_oss else both.chunk(2)
            three = zip((gate, up, down), biases, strict=True)
            layers.append(nn.ModuleList(quantised_layer(w.contiguous(), b, variant)
                                        for w, b in three))  # fmt: skip
        self.layers = nn.ModuleList(layers)
        self.gpt_oss = gpt_oss

    def forward(self, x: torch.Tensor, index: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        shape, x = x.shape, x.reshape(-1, x.shape[-1])
        # Experts beyond the last are the identity (LongCat-Flash).
        y = x * (weights * (index >= len(self.layers))).sum(-1, keepdim=True)
        for e, (gate, up, down) in enumerate(self.layers):
            tokens, place = torch.where(index == e)
            if not len(tokens):
                continue
            g, u = gate(x[tokens]), up(x[tokens])
            if self.gpt_oss:
                g, u = (
                    g.clamp(max=self.joined.limit),
                    u.clamp(-self.joined.limit, self.joined.limit),
                )
                hidden = g * torch.sigmoid(self.joined.alpha * g) * (u + 1)
            else:
                hidden = self.joined.act_fn(g) * u
            y.index_add_(0, tokens, down(hidden) * weights[tokens, place, None])
        return y.reshape(shape)


def four_bit(weight: torch.Tensor, code: str) -> tuple[np.ndarray, np.ndarray, torch.Tensor]:
    """Codes, scales and dequantised weights of one layer, (out, in).

    The tensor is given as one row. bitsandbytes 0.50.2 dequantises on a CPU with AVX-512 as if no
    block went over the end of a row, though it quantises otherwise, and so do its GPU kernels.
    """
    row = weight.contiguous().reshape(1, -1)
    packed, state = functional.quantize_4bit(row, quant_type=code, compress_statistics=False)
    values = functional.dequantize_4bit(packed, state).reshape(weight.shape)
    return packed.numpy().reshape(-1), state.absmax.numpy(), values


class Int8(nn.Module):
    """LLM.int8() in float32 on the quantisation functions of bitsandbytes, a batch of one text.

    Its own Linear8bitLt multiplies by 6.200124e-05 on a CPU, where 1 / 127^2 is 6.200012e-05.
    """

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None):
        super().__init__()
        self.codes, self.absmax, _ = functional.int8_vectorwise_quant(weight.half())
        self.bias = bias

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows = x.reshape(-1, x.shape[-1])
        codes, absmax, apart = functional.int8_vectorwise_quant(rows.half(), threshold=6.0)
        # Exact: the sums stay far below 2^53.
        y = codes.double() @ self.codes.double().T * absmax[:, None] * self.absmax / 127**2
        kernel = self.codes[:, apart] * (self.absmax / 127)[:, None]
        y = y.float() + rows[:, apart] @ kernel.T
        y = y if self.bias is None else y + self.bias
        return y.reshape(*x.shape[:-1], -1)


def quantised_layer(weight: torch.Tensor, bias: torch.Tensor | None, variant: str) -> nn.Module:
    """A linear layer on dequantised weights, or in LLM.int8()."""
    if variant == "int8":
        return Int8(weight, bias)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.weight = nn.Parameter(four_bit(weight, variant)[2])
    layer.bias = None if bias is None else nn.Parameter(bias)
    return layer


def quantise(model: nn.Module, variant: str) -> nn.Module:
    """The model with its linear layers replaced: on dequantised weights, or in LLM.int8()."""
    for name, module in routed_experts(model).items():
        model.set_submodule(name, Experts(module, variant))
    for name, module in linear_layers(model).items():
        weight = module.weight.data
        weight = (weight.T if isinstance(module, Conv1D) else weight).contiguous()
        model.set_submodule(name, quantised_layer(weight, module.bias, variant))
    return model.eval()

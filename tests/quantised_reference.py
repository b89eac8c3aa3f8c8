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
    """The layers that transformers gives to bitsandbytes, by name."""
    skipped = get_keys_to_not_convert(model)
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and should_convert_module(name, skipped)
    }


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


def quantise(model: nn.Module, variant: str) -> nn.Module:
    """The model with its linear layers replaced: on dequantised weights, or in LLM.int8()."""
    for name, module in linear_layers(model).items():
        weight = module.weight.data
        weight = (weight.T if isinstance(module, Conv1D) else weight).contiguous()
        if variant == "int8":
            layer = Int8(weight, module.bias)
        else:
            layer = nn.Linear(weight.shape[1], weight.shape[0], bias=module.bias is not None)
            layer.weight = nn.Parameter(four_bit(weight, variant)[2])
            layer.bias = module.bias
        model.set_submodule(name, layer)
    return model.eval()

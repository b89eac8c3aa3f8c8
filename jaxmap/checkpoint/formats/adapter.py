"""Adapters as saved by PEFT: adapter_config.json and the tensors to add to a base model.

`jaxmap.checkpoint.lora` adds them to the base's weights; `jaxmap.checkpoint.sources.adapter` finds
the base.
"""

from __future__ import annotations

from jaxmap.checkpoint.formats.safetensors import Safetensors
from jaxmap.checkpoint.formats.torch_bin import TorchBin

CONFIG = "adapter_config.json"


class Adapter(Safetensors):
    """An adapter of PEFT whose tensors are in safetensors."""

    name = "adapter"
    config_file = CONFIG
    looks_for = ("adapter_model.safetensors",)


class PickledAdapter(TorchBin):
    """An adapter of PEFT whose tensors are in a PyTorch file."""

    name = "adapter"
    config_file = CONFIG
    looks_for = ("adapter_model.bin",)


ADAPTERS = (Adapter(), PickledAdapter())

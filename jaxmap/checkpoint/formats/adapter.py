"""Adapters as PEFT saves them: adapter_config.json, and the tensors that it adds to a base model.

What they hold is added to the base's weights by `jaxmap.checkpoint.lora`; how the two are brought
together: `jaxmap.checkpoint.sources.adapter`.
"""

from __future__ import annotations

from jaxmap.checkpoint.formats.safetensors import Safetensors
from jaxmap.checkpoint.formats.torch_bin import TorchBin

CONFIG = "adapter_config.json"


class Adapter(Safetensors):
    name = "adapter"
    config_file = CONFIG
    looks_for = ("adapter_model.safetensors",)


class PickledAdapter(TorchBin):
    name = "adapter"
    config_file = CONFIG
    looks_for = ("adapter_model.bin",)


ADAPTERS = (Adapter(), PickledAdapter())

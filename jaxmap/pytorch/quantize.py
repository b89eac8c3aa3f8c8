"""Copies of a transformers model with its linear layers in 8 or 4 bit, as `checkpoint.quantize`.

Weights get the codes that the engine on JAX gives them (`model.encodings`); every linear layer
except the head is quantised, each as it is stored: (out, in), fused or not. Experts that
transformers keeps in one array are not linear layers there, so a model that has them is refused.
In array names I is input features, O output features.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Collection, Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxmap.checkpoint.quantize import BITS
from jaxmap.checkpoint.storage import Storage
from jaxmap.errors import InputError
from jaxmap.model.encodings.codes import OUTLIER
from jaxmap.model.encodings.four_bit import BLOCK, pack, unpack
from jaxmap.model.encodings.int8 import quantise_rows
from jaxmap.pytorch.loading import TorchModel


@dataclasses.dataclass
class Places:
    """The facts of a batch that 8-bit layers need, and those that they report.

    Fields:
      own_BT: which places of the batch in progress are of a text, bool [B, T]; others are padding.
      called: the names of the layers that were called.
    """

    own_BT: Any = None
    called: set[str] = dataclasses.field(default_factory=set)


@contextlib.contextmanager
def quantised(model: TorchModel, variant: str) -> Iterator[tuple[TorchModel, Places]]:
    """The model with quantised linear layers, while the context lasts; then as it was.

    Args:
      model: a model that is not quantised; its floats stay in memory.
      variant: one of QUANTISATIONS; "none" leaves it as it is.

    Yields the model with the copy's storage, and the object by which the scorer describes each
    batch.

    Raises InputError for a model with experts in one array, and in 8 bit for one that reads the
    weights of a layer without calling the layer.
    """
    places = Places()
    if variant == "none":
        yield model, places
        return
    layers = _linear_layers(model)
    before = {name: layer.weight.data for name, (layer, _) in layers.items()}
    try:
        num_bytes = sum(
            parameter.numel() * parameter.element_size() for parameter in model.module.parameters()
        )
        for name, (layer, inputs_first) in layers.items():
            num_bytes -= layer.weight.numel() * layer.weight.element_size()
            num_bytes += _quantise(name, layer, inputs_first, variant, places)
        if variant == "int8":
            _check_called(model, layers, places)
        storage = Storage(variant, num_bytes, model.num_parameters, bits=BITS[variant])
        yield dataclasses.replace(model, storage=storage), places
    finally:
        for name, (layer, _) in layers.items():
            layer.weight.data = before[name]
            layer.__dict__.pop("forward", None)


def _linear_layers(model: TorchModel) -> dict[str, tuple[Any, bool]]:
    """The layers to quantise by name, each with whether its weight is stored (in, out)."""
    import torch
    from transformers.pytorch_utils import Conv1D

    head = model.module.get_output_embeddings()
    convolutions = (torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    found: dict[str, tuple[Any, bool]] = {}
    for name, layer in model.module.named_modules():
        if isinstance(layer, torch.nn.Linear | Conv1D):
            if layer is not head:
                found[name] = layer, isinstance(layer, Conv1D)
        elif not isinstance(layer, convolutions):
            for own, parameter in layer.named_parameters(recurse=False):
                if parameter.ndim > 2 and math.prod(parameter.shape[-2:]) > max(
                    parameter.shape[-2:]
                ):
                    raise InputError(
                        f"{model.model_type} cannot be quantised by `engine=torch`: {name}.{own} "
                        "holds several matrices in one array, which is no linear layer"
                    )
    if not found:
        raise InputError(f"{model.model_type} cannot be quantised: it has no linear layers")
    return found


def _check_called(model: TorchModel, layers: Collection[str], places: Places) -> None:
    import torch

    with torch.inference_mode():
        ids_BT = model.structure.trial()
        places.own_BT = torch.ones_like(ids_BT, dtype=torch.bool)
        model.structure.states(ids_BT)
    if idle := sorted(set(layers) - places.called):
        raise InputError(
            f"{model.model_type} cannot be quantised to int8 by `engine=torch`: its layer "
            f"{idle[0]} is not called, another reads its weights"
        )


def _quantise(name: str, layer: Any, inputs_first: bool, variant: str, places: Places) -> int:
    """Gives a layer the weights of a copy; returns the bytes of their codes and scales."""
    import torch

    weight = layer.weight.data
    stored = weight.T if inputs_first else weight
    weight_OI = jnp.asarray(stored.float().cpu().numpy()).astype(_jax_dtype(weight))
    O, I = weight_OI.shape  # noqa: E741 output and input features

    def as_torch(array: Any) -> Any:
        return torch.from_numpy(np.array(array)).to(weight.device)

    if variant == "int8":
        code_OI, absmax_O = quantise_rows(weight_OI)
        if not bool(jnp.isfinite(absmax_O).all()):
            raise InputError(f"int8: weights of {name} overflow float16, where they are rounded")
        int8 = _Int8(as_torch(code_OI), as_torch(absmax_O), layer.bias, places, name)
        layer.forward = int8
        return O * I + 4 * O
    packed, scale_Z = pack(weight_OI.reshape(-1), variant)
    floats_OI = as_torch(unpack(packed, scale_Z, variant, O * I).reshape(O, I)).to(weight.dtype)
    layer.weight.data = floats_OI.T.contiguous() if inputs_first else floats_OI
    return -(-O * I // 2) + 4 * -(-O * I // BLOCK)


def _jax_dtype(weight: Any) -> Any:
    return jnp.dtype(str(weight.dtype).removeprefix("torch."))


class _Int8:
    """What a layer in LLM.int8() does, see `model.encodings.int8.int8_product`."""

    def __init__(self, code_OI: Any, absmax_O: Any, bias_O: Any, places: Places, name: str):
        self._code_OI, self._absmax_O, self._bias_O = code_OI.float(), absmax_O, bias_O
        self._places, self._name = places, name

    def __call__(self, x: Any) -> Any:
        import torch

        self._places.called.add(self._name)
        own_BT = self._places.own_BT
        if own_BT is None or x.shape[:-1].numel() != own_BT.numel():
            raise InputError(
                f"int8: {self._name} is given {tuple(x.shape[:-1])} places, not those of the "
                "batch, so that the texts that they are of are unknown"
            )
        x_BTI = x.reshape(*own_BT.shape, x.shape[-1])
        half_BTI = x_BTI.half()
        large_BTI = half_BTI.abs() >= OUTLIER
        # A column with an outlier anywhere in a text is apart in that text.
        apart_BTI = (large_BTI & own_BT[..., None]).any(1, keepdim=True).expand_as(x_BTI)
        absmax_BT = half_BTI.masked_fill(large_BTI, 0).abs().amax(-1).float()
        scale_BT = torch.where(absmax_BT > 0, 1 / absmax_BT, 0.0) * 127
        small_BTI = half_BTI.masked_fill(large_BTI, 0)
        code_BTI = (small_BTI.float() * scale_BT[..., None]).round().masked_fill(apart_BTI, 0)
        # Sums of products of integers, exact: below 2^24 in float32, in float64 beyond.
        exact = torch.float32 if code_BTI.shape[-1] * 127**2 < 1 << 24 else torch.float64
        y_BTO = (code_BTI.to(exact) @ self._code_OI.to(exact).T).float() * self._absmax_O
        y_BTO = y_BTO * (absmax_BT * (1 / 127**2))[..., None]
        if bool(apart_BTI.any()):
            floats_OI = (self._code_OI * (self._absmax_O / 127)[:, None]).to(x.dtype)
            y_BTO = y_BTO + (x_BTI.masked_fill(~apart_BTI, 0) @ floats_OI.T).float()
        if self._bias_O is not None:
            y_BTO = y_BTO + self._bias_O.float()
        return y_BTO.to(x.dtype).reshape(*x.shape[:-1], -1)

"""8-bit and 4-bit copies of a model in memory, the same as transformers makes with bitsandbytes.

Every linear layer except the unembedding is quantised; embeddings, norms and biases are not. The
weights are quantised in the dtype in which the model was loaded and in the layout of torch's
Linear, (out, in). As in transformers, a fused tensor of query, key and value is quantised as a
whole, and the tensors of GPT-2, stored (in, out), are transposed first.

Each matrix (gate, up, down) of an expert is quantised as a linear layer of its own, as it was when
the published copies were made (transformers 4); transformers 5 has all experts of a layer in one
parameter, which bitsandbytes ignores. Routers are not quantised: in transformers 5 they are not
linear layers, but for a projection in those of a few types such as Gemma 4 and Trinity (in
transformers 4 those of Mixtral, Qwen and OLMoE were). The shared MLP and its gate are linear layers
in both.

A block that several layers share is not quantised, nor are the adapters in it: transformers leaves
out every layer whose weights are tied.

It also leaves out a model's last parameter, whatever it is: in the text-only form of Gemma 3n the
projection of its last stream, which is quantised here, as it is in its multimodal form.
"""

from __future__ import annotations

import dataclasses

import jax
from flax import nnx

from jaxmap.architectures.registry import family_named
from jaxmap.architectures.rows import row_key_of
from jaxmap.checkpoint.account import parameter_shapes
from jaxmap.checkpoint.linear_kernels import kernel_of
from jaxmap.checkpoint.storage import Storage
from jaxmap.checkpoint.weights import Model
from jaxmap.errors import InputError
from jaxmap.model.decoder import Decoder
from jaxmap.model.encodings import LAYERS
from jaxmap.model.encodings.base import Kernel
from jaxmap.model.layers.linear import Linear
from jaxmap.model.mesh import place
from jaxmap.model.mlps.experts import RoutedExperts
from jaxmap.model.spec import Spec
from jaxmap.model.sublayers import quantisable

BITS = {"int8": 8, "nf4": 4, "fp4": 4}  # bits per code
_OF_ROUTING = ("router", "expert_gate", "expert_up", "expert_down")  # attributes of RoutedExperts


def quantised(model: Model, variant: str) -> Model:
    """A copy of the model with quantised linear layers; other arrays are shared with the model.

    Args:
      model: a model that is not quantised.
      variant: one of QUANTISATIONS; "none" returns the model itself.

    Raises InputError for layers that do not support quantisation.
    """
    if variant == "none":
        return model
    if model.in_codes:
        raise InputError(
            f"its layers are stored in codes ({model.storage.format}): a copy in {variant} is made "
            "of the model that this is a copy of"
        )
    for kind, _, _ in model.spec.stacks():
        for part in (kind.mixer, kind.mlp):
            if not quantisable(part):
                raise InputError(
                    f"{model.model_type} cannot be quantised to {variant}: "
                    f"its {part!r} layers do not support it"
                )
    encoding = LAYERS[variant]
    decoder = nnx.merge(model.graph, model.params)
    experts = [m for _, m in nnx.iter_modules(decoder) if isinstance(m, RoutedExperts)]
    for found in _kernels(decoder, model).values():
        made = encoding.linear([kernel for _, _, kernel in found])
        for (owner, name, _), layer in zip(found, made, strict=True):
            setattr(owner, name, layer)
    for owner in experts:
        for name in ("expert_gate", "expert_up", "expert_down"):
            if (linear := getattr(owner, name)) is not None:
                named = f"the {name.replace('_', ' ')} layers"
                setattr(owner, name, encoding.experts(named, linear))
    graph, params = nnx.split(decoder)
    if model.mesh is not None:
        params = place(params, decoder.spec, model.mesh)
    num_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    storage = Storage(variant, num_bytes, model.num_parameters, bits=BITS[variant])
    return dataclasses.replace(
        model, graph=graph, params=params, quantisation=variant, storage=storage
    )


def _kernels(
    decoder: Decoder, model: Model
) -> dict[tuple[str, str], list[tuple[nnx.Module, str, Kernel]]]:
    """Every linear layer: its parent module, its name there, and its kernel.

    Layers of one stack that are stored in one tensor have the same key.
    """
    rows = family_named(model.model_type).rows(model.spec)
    shapes = parameter_shapes(model.spec)
    modules = dict(nnx.iter_modules(decoder))
    found: dict[tuple[str, str], list[tuple[nnx.Module, str, Kernel]]] = {}
    for path, module in modules.items():
        if not isinstance(module, Linear):
            continue
        if isinstance(modules[path[:-1]], RoutedExperts) and str(path[-1]) in _OF_ROUTING:
            continue
        if _shared_by_several(path, model.spec):
            continue
        where = "/".join(map(str, path))
        key, layers = row_key_of(f"{where}/kernel", model.spec)
        row, stacked = rows[key], layers != (None,)
        if "{e}" in row.name:
            raise InputError(
                f"{model.model_type}: {row.name} is many tensors, which cannot be quantised"
            )
        shape, specs = shapes[f"{where}/kernel"], (model.spec, decoder.spec)
        kernel = kernel_of(module, row.name, row.lies, shape, specs, stacked=stacked)
        stored = (where.split("/")[1] if stacked else "", row.name)
        found.setdefault(stored, []).append((modules[path[:-1]], str(path[-1]), kernel))
    return found


def _shared_by_several(path: tuple, spec: Spec) -> bool:
    """Whether a module belongs to a shared block (`Spec.shared`) that more than one layer uses."""
    if spec.shared is None or path[0] not in ("shared", "adapters"):
        return False
    of_block = range(int(path[1]) % spec.shared.blocks, spec.shared.layers, spec.shared.blocks)
    return len(of_block) > 1

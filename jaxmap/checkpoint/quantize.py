"""8-bit and 4-bit copies of a model in memory, as transformers makes them with bitsandbytes.

Every linear layer is quantised but the unembedding; embeddings, norms and biases stay as they are.
The weights are taken in the dtype that the model was loaded in and in the layout of torch's
Linear, (out, in): a tensor that holds query, key and value together is quantised whole, and those
of GPT-2, stored (in, out), are transposed first, as transformers does.

Of routed experts each matrix (gate, up, down) is a linear layer of its own, which is what they were
when the published copies were made (transformers 4); transformers 5 holds all experts of a layer in
one parameter, which bitsandbytes does not see. Routers stay as they are: in transformers 5 they are
no linear layers either (in transformers 4 those of Mixtral, Qwen and OLMoE were). The MLP that all
tokens share, and its gate, are linear layers in both.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxmap.architectures.registry import families
from jaxmap.architectures.rows import Row, place_of, write
from jaxmap.checkpoint.weights import Model, parameter_shapes
from jaxmap.errors import InputError
from jaxmap.model.decoder import Decoder, quantisable
from jaxmap.model.encodings.quantised import (
    FourBitExperts,
    FourBitLinear,
    Int8Experts,
    Int8Linear,
    Packed,
    pack,
    quantise_rows,
)
from jaxmap.model.extent import Extent, extent
from jaxmap.model.layers.linear import Linear
from jaxmap.model.mesh import place
from jaxmap.model.mlps.experts import RoutedExperts

_OF_ROUTING = ("router", "expert_gate", "expert_up", "expert_down")  # attributes of RoutedExperts


@dataclasses.dataclass(frozen=True)
class _Kernel:
    """One Linear of a decoder: where it is, where it is stored, and what it holds.

    Fields:
      owner, name: the module that has it as an attribute.
      stored: what of its stack of layers is stored in one tensor has the same.
      row: its place in that tensor.
      stacked: whether the kernel has a leading axis of layers.
      shape, inputs: of the kernel of one layer; how many of its axes, the first, are inputs.
      extents: how a mesh holds these axes.
    """

    owner: nnx.Module
    name: str
    stored: tuple[str, str]
    row: Row
    stacked: bool
    shape: tuple[int, ...]
    inputs: int
    extents: tuple[Extent, ...]

    @property
    def linear(self) -> Linear:
        return getattr(self.owner, self.name)

    @property
    def kernel(self) -> jax.Array:
        """With a leading axis of layers, in any case."""
        value = self.linear.kernel[...]
        return value if self.stacked else value[None]

    @property
    def stored_kernel(self) -> jax.Array:
        """`kernel` without what a mesh adds."""
        value = self.kernel
        for axis, how in enumerate(self.extents, start=1):
            value = how.trim(value, axis)
        return value

    @property
    def inputs_first(self) -> bool:
        """Whether the tensor is stored (in, out)."""
        if not self.row.layout:
            return True
        stored, _, parameter = self.row.layout.partition("->")
        letters = parameter.split()[1 if self.row.part else 0 :]
        return stored.replace("(", " ").split()[0] in letters[: self.inputs]


def quantised(model: Model, variant: str) -> Model:
    """A copy of the model with the linear layers quantised; what is not shares its arrays.

    Args:
      model: not quantised.
      variant: of `work.QUANTISATIONS`; none: the model itself.

    Raises InputError for layers that are not known to be linear layers as bitsandbytes sees them.
    """
    if variant == "none":
        return model
    for kind, _, _ in model.spec.stacks():
        for part in (kind.mixer, kind.mlp):
            if not quantisable(part):
                raise InputError(
                    f"{model.model_type} cannot be quantised to {variant}: "
                    f"its {part!r} layers do not support it"
                )
    decoder = nnx.merge(model.graph, model.params)
    tensors: dict[tuple[str, str], list[_Kernel]] = {}
    experts = [m for _, m in nnx.iter_modules(decoder) if isinstance(m, RoutedExperts)]
    for kernel in _kernels(decoder, model):
        tensors.setdefault(kernel.stored, []).append(kernel)
    for kernels in tensors.values():
        if variant == "int8":
            for kernel in kernels:
                _to_int8(kernel)
        else:
            _to_four_bit(kernels, variant)
    for layer in experts:
        _experts_to(layer, variant)
    graph, params = nnx.split(decoder)
    if model.mesh is not None:
        params = place(params, decoder.spec, model.mesh)
    return dataclasses.replace(model, graph=graph, params=params, quantisation=variant)


def _kernels(decoder: Decoder, model: Model) -> list[_Kernel]:
    rows = families()[model.model_type].rows(model.spec)
    shapes = parameter_shapes(model.spec)
    modules = dict(nnx.iter_modules(decoder))
    found = []
    for path, module in modules.items():
        if not isinstance(module, Linear):
            continue
        if isinstance(modules[path[:-1]], RoutedExperts) and str(path[-1]) in _OF_ROUTING:
            continue
        where = "/".join(map(str, path))
        key, layers = place_of(f"{where}/kernel", model.spec)
        row, stacked = rows[key], layers != (None,)
        if "{e}" in row.name:
            raise InputError(
                f"{model.model_type}: {row.name} is many tensors, which cannot be quantised"
            )
        held = module.kernel.shape[1:] if stacked else module.kernel.shape
        shape = shapes[f"{where}/kernel"][1 if stacked else 0 :]
        _, kernel_axes, output_axes = module.equation.replace("->", ",").split(",")
        inputs = sum(axis not in output_axes for axis in kernel_axes)
        assert not set(kernel_axes[:inputs]) & set(output_axes), module.equation
        stack = where.split("/")[1] if stacked else ""
        owner, name = modules[path[:-1]], str(path[-1])
        extents = tuple(
            extent(letter, size, held_size, model.spec, decoder.spec)
            for letter, size, held_size in zip(kernel_axes, shape, held, strict=True)
        )
        stored = (stack, row.name)
        found.append(_Kernel(owner, name, stored, row, stacked, shape, inputs, extents))
    return found


def _experts_to(layer: RoutedExperts, variant: str) -> None:
    """The matrices of every expert of a stack of layers, each alone."""
    for name in ("expert_gate", "expert_up", "expert_down"):
        linear = getattr(layer, name)
        if linear is None:
            continue
        kernels = linear.kernel[...]  # [L, E, in, out]
        L, E, *inner = kernels.shape
        flat = kernels.reshape(L * E, *inner)
        quantised: FourBitExperts | Int8Experts
        if variant == "int8":
            weight, absmax = _int8(flat, 1)
            _check_finite(f"the {name.replace('_', ' ')} layers", absmax)
            weight, absmax = weight.reshape(L, E, *weight.shape[1:]), absmax.reshape(L, E, -1)
            quantised = Int8Experts(weight, absmax, bias=linear.bias)
        else:
            packed, scale = _packed_each(flat, variant)
            quantised = FourBitExperts(
                linear.equation,
                packed.reshape(L, E, -1),
                scale.reshape(L, E, -1),
                code=variant,
                shape=tuple(inner[::-1]),
                bias=linear.bias,
            )
        setattr(layer, name, quantised)


@partial(jax.jit, static_argnums=1)
def _packed_each(kernels: jax.Array, code: str) -> tuple[jax.Array, jax.Array]:
    """Codes and scales of kernels (in, out), with a leading axis of them."""
    return jax.lax.map(lambda kernel: pack(kernel.T.reshape(-1), code), kernels)


def _to_int8(kernel: _Kernel) -> None:
    weight, absmax = _int8(kernel.kernel, kernel.inputs)
    _check_finite(kernel.row.name, absmax)
    if not kernel.stacked:
        weight, absmax = weight[0], absmax[0]
    quantised = Int8Linear(
        weight,
        absmax,
        inputs=kernel.inputs,
        outputs=tuple(how.held for how in kernel.extents[kernel.inputs :]),
        bias=kernel.linear.bias,
        letters=kernel.linear.letters[kernel.inputs] + kernel.linear.letters[0],
    )
    setattr(kernel.owner, kernel.name, quantised)


@partial(jax.jit, static_argnums=1)
def _int8(kernels: jax.Array, inputs: int) -> tuple[jax.Array, jax.Array]:
    def one(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        I = int(np.prod(kernel.shape[:inputs]))  # noqa: E741 input features
        return quantise_rows(kernel.reshape(I, -1).T)

    return jax.lax.map(one, kernels)


def _check_finite(name: str, absmax: jax.Array) -> None:
    if not bool(jnp.isfinite(absmax).all()):
        raise InputError(
            f"--quantize=int8: weights of {name} overflow float16, from which they are quantised"
        )


def _to_four_bit(kernels: list[_Kernel], code: str) -> None:
    """All that is stored in one tensor."""
    first = kernels[0]
    rows = tuple(kernel.row for kernel in kernels)
    stored_shape = first.row.stored_shape(first.shape)
    shape = stored_shape[::-1] if first.inputs_first else stored_shape
    packed, scale = _packed(
        tuple(kernel.stored_kernel for kernel in kernels), rows, shape, first.inputs_first, code
    )
    if not first.stacked:
        packed, scale = packed[0], scale[0]
    weights = Packed(packed, scale, code=code, shape=shape)
    for kernel in kernels:
        quantised = FourBitLinear(
            kernel.linear.equation,
            weights,
            kernel.row,
            kernel.shape,
            inputs_first=first.inputs_first,
            bias=kernel.linear.bias,
            extents=kernel.extents,
        )
        setattr(kernel.owner, kernel.name, quantised)


@partial(jax.jit, static_argnums=(1, 2, 3, 4))
def _packed(
    kernels: tuple[jax.Array, ...],
    rows: tuple[Row, ...],
    shape: tuple[int, ...],
    inputs_first: bool,
    code: str,
) -> tuple[jax.Array, jax.Array]:
    """Codes and scales of the stored tensors, with a leading axis of layers."""

    def one(parts: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
        stored = write(list(rows), list(parts))
        stored = stored.T if inputs_first else stored
        assert stored.shape == shape, f"{rows[0].name}: parts make {stored.shape}, not {shape}"
        return pack(stored.reshape(-1), code)

    return jax.lax.map(one, kernels)

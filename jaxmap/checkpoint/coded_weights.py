"""A decoder whose linear layers stay in the codes of the file, and how these are read.

Where all tensors of a layer's kernel, in every layer of a stack, are matrices in codes of one
meaning, the layer is replaced by one that holds the codes. Other parameters are floats as ever.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from jaxmap.checkpoint.account import Assignment
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.checkpoint.host_memory import own_pages
from jaxmap.checkpoint.linear_kernels import kernel_of
from jaxmap.errors import InputError
from jaxmap.model import decoder
from jaxmap.model.block import quantisable
from jaxmap.model.encodings.base import Kernel
from jaxmap.model.encodings.blocks import BlockExperts, BlockMatrix
from jaxmap.model.encodings.codes import Blocks, Grouping, Int8Rows, Meaning
from jaxmap.model.encodings.dequantised import DequantisedLinear
from jaxmap.model.encodings.grouped import Grouped, GroupedExperts
from jaxmap.model.encodings.int8 import Int8Linear
from jaxmap.model.layers.linear import Linear
from jaxmap.model.mesh import axes_of, partition
from jaxmap.model.mlps.experts import RoutedExperts
from jaxmap.model.spec import Spec

# Stored tensors, and the parameters that they fill.
Group = tuple[tuple[str, ...], list[Assignment]]
Arrays = Mapping[str, np.ndarray]
_EXPERTS = ("expert_gate", "expert_up", "expert_down")


@dataclasses.dataclass(frozen=True)
class _Layer:
    """A layer in codes, or the codes that several share.

    Fields:
      names: of the stored tensors, one a layer, or one an expert of each.
      lead: how many there are of these.
      module: what holds the arrays.
      arrays: those of one stored tensor -> those that the module holds of it, by attribute.
    """

    names: tuple[str, ...]
    lead: tuple[int, ...]
    module: nnx.Module
    arrays: Callable[[Arrays], Arrays]


@dataclasses.dataclass(frozen=True)
class CodedDecoder:
    """The structure of a decoder with layers in codes.

    Fields:
      graph, leaves: as of a decoder of floats, by path; shapes stand for arrays.
      layers: (path of the module, the layer) of all that is in codes.
      names: the stored tensors that are held in codes.
    """

    graph: nnx.GraphDef
    leaves: dict[str, nnx.Variable]
    layers: tuple[tuple[str, _Layer], ...]
    names: frozenset[str]

    def read(self, tensors: Mapping[str, Stored], mesh: Mesh | None, spec: Spec) -> dict[str, Any]:
        """The arrays of the layers in codes, by path; `spec` is the padded one.

        Raises InputError for scales and codes that are not finite.
        """
        found: dict[str, Any] = {}
        by_names: dict[tuple[str, ...], list[tuple[str, _Layer]]] = {}
        for path, layer in self.layers:
            by_names.setdefault(layer.names, []).append((path, layer))
        for names, layers in by_names.items():
            whole: dict[str, np.ndarray] = {}
            for i, name in enumerate(names):
                coded = tensors[name].codes
                assert coded is not None
                arrays = coded.read()
                _check_finite(arrays, name, tensors[name])
                for path, layer in layers:
                    for attribute, value in layer.arrays(arrays).items():
                        key = f"{path}/{attribute}"
                        if key not in whole:
                            shape = (*layer.lead, *value.shape)
                            whole[key] = own_pages(shape, value.dtype)
                        flat = whole[key].reshape(len(names), *value.shape)
                        flat[i] = value
            for key in list(whole):
                found[key] = _placed(whole.pop(key), self.leaves[key], mesh, spec)
        return found


def coded_decoder(
    spec: Spec, padded: Spec, dtype: Any, groups: Sequence[Group], tensors: Mapping[str, Stored]
) -> CodedDecoder | None:
    """The decoder with all in codes that can be; None where nothing can.

    Args:
      spec, padded: of the checkpoint, and padded for a mesh (`padding.padded_spec`).
      dtype: of activations.
      groups: the stored tensors with the parameters that they fill.
      tensors: of the files.
    """
    if not any(tensors[name].codes for names, _ in groups for name in names):
        return None
    whole = nnx.merge(*decoder.abstract(padded, dtype))
    modules = {"/".join(map(str, path)): module for path, module in nnx.iter_modules(whole)}
    layers: list[_Layer] = []
    experts: dict[str, dict[str, Group]] = {}
    for group in groups:
        meaning = _meaning(group, tensors)
        where = [assignment.path.removesuffix("/kernel") for assignment in group[1]]
        linears = [modules.get(path) for path in where]
        if meaning is None or not all(isinstance(one, Linear) for one in linears):
            continue
        owner, _, attribute = where[0].rpartition("/")
        if isinstance(modules[owner], RoutedExperts) and attribute in _EXPERTS:
            experts.setdefault(owner, {})[attribute] = group
        elif not isinstance(modules[owner], RoutedExperts) and _may(where[0], spec):
            coded = tensors[group[0][0]].codes
            assert coded is not None
            layers += _in_linears(group, meaning, coded.transposed, modules, (spec, padded))
    for owner, parts in experts.items():
        layers += _in_experts(modules[owner], parts, tensors)
    if not layers:
        return None
    graph, state = nnx.split(whole)
    path_of = {id(module): "/".join(map(str, path)) for path, module in nnx.iter_modules(whole)}
    return CodedDecoder(
        graph,
        decoder.named(state),
        tuple((path_of[id(layer.module)], layer) for layer in layers),
        frozenset(name for layer in layers for name in layer.names),
    )


def _meaning(group: Group, tensors: Mapping[str, Stored]) -> Meaning | None:
    """What the codes of all of a group's tensors mean; None where they are not alike."""
    coded = [tensors[name].codes for name in group[0]]
    there = [one for one in coded if one is not None]
    if len(there) < len(coded) or len({one.transposed for one in there}) > 1:
        return None
    meanings = {one.meaning for one in there}
    blocks = [one for one in meanings if isinstance(one, Blocks)]
    if len(blocks) == len(meanings):
        return Blocks.joined(blocks)
    return meanings.pop() if len(meanings) == 1 else None


def _may(path: str, spec: Spec) -> bool:
    """Whether layers of the kind that a linear layer belongs to can hold their weights so."""
    parts = path.split("/")
    if parts[0] != "blocks":
        return False
    kind, _, _ = list(spec.stacks())[int(parts[1])]
    return quantisable(kind.mixer) and quantisable(kind.mlp)


def _in_linears(
    group: Group,
    meaning: Meaning,
    turned: bool,
    modules: Mapping[str, nnx.Module],
    specs: tuple[Spec, Spec],
) -> list[_Layer]:
    """Replaces the linear layers of one stored tensor, or of one a layer."""
    names, assignments = group
    lead = (len(names),)
    if any(
        "{e}" in assignment.row.name or assignment.shape != (*lead, *assignment.item)
        for assignment in assignments
    ):
        return []
    kernels = []
    for assignment in assignments:
        linear = modules[assignment.path.removesuffix("/kernel")]
        assert isinstance(linear, Linear)
        kernels.append(
            kernel_of(linear, names[0], assignment.row.lies, assignment.shape, specs, stacked=True)
        )
    if isinstance(meaning, Int8Rows):
        if any(kernel.inputs_first for kernel in kernels):
            return []
        made = [_int8(kernel, meaning, lead) for kernel in kernels]
        layers = [_Layer(names, lead, module, read) for module, read in made]
        replacements: list[nnx.Module] = [module for module, _ in made]
    else:
        codes = (BlockMatrix if isinstance(meaning, Blocks) else Grouped)(
            meaning,  # type: ignore[arg-type]
            _shapes(meaning, lead),
        )
        layers = [_Layer(names, lead, codes, _held(meaning))]
        replacements = [
            DequantisedLinear(
                kernel.linear.equation,
                codes,
                kernel.layout,
                kernel.shape,
                inputs_first=turned,
                bias=kernel.linear.bias,
                extents=kernel.extents,
            )
            for kernel in kernels
        ]
    for assignment, replacement in zip(assignments, replacements, strict=True):
        owner, _, attribute = assignment.path.removesuffix("/kernel").rpartition("/")
        setattr(modules[owner], attribute, replacement)
    return layers


def _int8(
    kernel: Kernel, meaning: Int8Rows, lead: tuple[int, ...]
) -> tuple[Int8Linear, Callable[[Arrays], Arrays]]:
    """A layer of LLM.int8(), and what it holds of a stored tensor."""

    def rows(stored: np.ndarray) -> np.ndarray:
        x = kernel.layout.read(stored, kernel.shape)
        for axis, how in enumerate(kernel.extents):
            x = how.pad(x, axis)
        inputs = int(np.prod(x.shape[: kernel.inputs]))
        return x.reshape(inputs, -1).T

    def read(arrays: Arrays) -> Arrays:
        weight = arrays["weight"]
        each = np.broadcast_to(arrays["absmax"][:, None], weight.shape)
        # Where a mesh adds inputs they come last; the first is one of the file's.
        return {"weight": rows(weight), "absmax": rows(each)[:, 0]}

    inputs = int(np.prod([how.padded for how in kernel.extents[: kernel.inputs]]))
    outputs = tuple(how.padded for how in kernel.extents[kernel.inputs :])
    size = int(np.prod(outputs))
    letters = kernel.linear.letters
    module = Int8Linear(
        jax.ShapeDtypeStruct((*lead, size, inputs), np.int8),  # type: ignore[arg-type]
        jax.ShapeDtypeStruct((*lead, size), np.float32),  # type: ignore[arg-type]
        inputs=kernel.inputs,
        outputs=outputs,
        bias=kernel.linear.bias,
        letters=letters[kernel.inputs] + letters[0],
    )
    return module, read


def _in_experts(
    owner: nnx.Module, parts: Mapping[str, Group], tensors: Mapping[str, Stored]
) -> list[_Layer]:
    """Replaces the experts of a stack of layers, where each matrix of each is a tensor."""
    linears = {name: getattr(owner, name) for name in _EXPERTS}
    there = {name: one for name, one in linears.items() if one is not None}
    if set(parts) != set(there):
        return []
    made: dict[str, tuple[BlockExperts | GroupedExperts, _Layer]] = {}
    for attribute, (names, assignments) in parts.items():
        (assignment,) = assignments if len(assignments) == 1 else (None,)
        meaning = _meaning((names, assignments), tensors)
        if assignment is None or not isinstance(meaning, Grouping | Blocks):
            return []
        lead = assignment.shape[: len(assignment.shape) - len(assignment.item)]
        kernel = there[attribute].kernel
        turned = "{e}" in assignment.row.name and assignment.item == meaning.shape[::-1]
        # As a mesh holds them, or as (in, out): both would have to be done to the codes.
        if not turned or tuple(kernel.shape) != assignment.shape or not _is_transposed(assignment):
            return []
        module = (BlockExperts if isinstance(meaning, Blocks) else GroupedExperts)(
            there[attribute].equation,
            meaning,  # type: ignore[arg-type]
            _shapes(meaning, lead),
            there[attribute].bias,
        )
        made[attribute] = module, _Layer(names, lead, module, _held(meaning))
    for attribute, (module, _) in made.items():
        setattr(owner, attribute, module)
    return [layer for _, layer in made.values()]


def _is_transposed(assignment: Assignment) -> bool:
    stored, parameter = assignment.row.lies.letters
    plain = (
        assignment.row.lies.part is assignment.row.lies.cut is assignment.row.lies.blocks is None
    )
    return plain and bool(stored) and stored.split()[::-1] == parameter.split()


def _held(meaning: Grouping | Blocks) -> Callable[[Arrays], Arrays]:
    """The arrays of one stored tensor -> those that a layer holds of it."""
    return meaning.in_memory if isinstance(meaning, Blocks) else lambda arrays: arrays


def _shapes(meaning: Grouping | Blocks, lead: tuple[int, ...]) -> dict[str, Any]:
    return {
        name: jax.ShapeDtypeStruct((*lead, *array.shape), array.dtype)
        for name, array in meaning.arrays.items()
    }


def _check_finite(arrays: Arrays, name: str, stored: Stored) -> None:
    for part, array in arrays.items():
        floats = array.dtype.kind not in "iu"
        if floats and not np.isfinite(array.astype(np.float32)).all():
            raise InputError(f"{stored.file.parent}: NaN or infinite weights in {name} ({part})")


def _placed(array: np.ndarray, leaf: nnx.Variable, mesh: Mesh | None, spec: Spec) -> jax.Array:
    if mesh is None:
        return jax.device_put(array)
    sharding = NamedSharding(mesh, partition(leaf, spec, axes_of(mesh)))
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

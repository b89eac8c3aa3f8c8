"""Layers whose weights stay in the codes of a file, in place of linear layers and experts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxmap.checkpoint.account import Assignment
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.checkpoint.linear_kernels import kernel_of
from jaxmap.model.encodings.base import Kernel
from jaxmap.model.encodings.blocks import BlockExperts, BlockMatrix
from jaxmap.model.encodings.codes import Blocks, Grouping, Int8Rows, Meaning
from jaxmap.model.encodings.dequantised import DequantisedLinear
from jaxmap.model.encodings.grouped import Grouped, GroupedExperts
from jaxmap.model.encodings.int8 import Int8Linear
from jaxmap.model.layers.linear import Linear
from jaxmap.model.spec import Spec

# Stored tensors, and the parameters that they fill.
Group = tuple[tuple[str, ...], list[Assignment]]
Arrays = Mapping[str, np.ndarray]
EXPERTS = ("expert_gate", "expert_up", "expert_down")


@dataclasses.dataclass(frozen=True)
class CodedLayer:
    """A layer in codes, or the codes that several share.

    Fields:
      names: the stored tensors, one per layer, or one per layer and expert.
      lead: their number, (layers,) or (layers, experts).
      module: the module with the arrays as attributes.
      arrays: from the arrays of one stored tensor to its part of the module's, by attribute.
    """

    names: tuple[str, ...]
    lead: tuple[int, ...]
    module: nnx.Module
    arrays: Callable[[Arrays], Arrays]


def common_meaning(group: Group, tensors: Mapping[str, Stored]) -> Meaning | None:
    """The meaning of the codes of all tensors of a group; None if they do not have the same."""
    coded = [tensors[name].codes for name in group[0]]
    there = [one for one in coded if one is not None]
    if len(there) < len(coded) or len({one.transposed for one in there}) > 1:
        return None
    meanings = {one.meaning for one in there}
    blocks = [one for one in meanings if isinstance(one, Blocks)]
    if len(blocks) == len(meanings):
        return Blocks.joined(blocks)
    return meanings.pop() if len(meanings) == 1 else None


def replace_linears(
    group: Group,
    meaning: Meaning,
    turned: bool,
    modules: Mapping[str, nnx.Module],
    specs: tuple[Spec, Spec],
) -> list[CodedLayer]:
    """Replaces the linear layers that one stored tensor fills, or one tensor per layer."""
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
        layers = [CodedLayer(names, lead, module, read) for module, read in made]
        replacements: list[nnx.Module] = [module for module, _ in made]
    else:
        codes = (BlockMatrix if isinstance(meaning, Blocks) else Grouped)(
            meaning,  # type: ignore[arg-type]
            _shapes(meaning, lead),
        )
        layers = [CodedLayer(names, lead, codes, _arrays_of(meaning))]
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
    """A layer of LLM.int8(), and the function from a stored tensor to its arrays."""

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


def replace_experts(
    owner: nnx.Module, parts: Mapping[str, Group], tensors: Mapping[str, Stored]
) -> list[CodedLayer]:
    """Replaces the experts of a stack of layers, where each matrix of each is a tensor."""
    linears = {name: getattr(owner, name) for name in EXPERTS}
    there = {name: one for name, one in linears.items() if one is not None}
    if set(parts) != set(there):
        return []
    made: dict[str, tuple[BlockExperts | GroupedExperts, CodedLayer]] = {}
    for attribute, (names, assignments) in parts.items():
        (assignment,) = assignments if len(assignments) == 1 else (None,)
        meaning = common_meaning((names, assignments), tensors)
        if assignment is None or not isinstance(meaning, Grouping | Blocks):
            return []
        lead = assignment.shape[: len(assignment.shape) - len(assignment.item)]
        kernel = there[attribute].kernel
        turned = "{e}" in assignment.row.name and assignment.item == meaning.shape[::-1]
        # Codes are neither padded for a mesh nor transposed.
        if not turned or tuple(kernel.shape) != assignment.shape or not _is_transposed(assignment):
            return []
        module = (BlockExperts if isinstance(meaning, Blocks) else GroupedExperts)(
            there[attribute].equation,
            meaning,  # type: ignore[arg-type]
            _shapes(meaning, lead),
            there[attribute].bias,
        )
        made[attribute] = module, CodedLayer(names, lead, module, _arrays_of(meaning))
    for attribute, (module, _) in made.items():
        setattr(owner, attribute, module)
    return [layer for _, layer in made.values()]


def _is_transposed(assignment: Assignment) -> bool:
    """Whether the stored tensor is the parameter's matrix (out, in), whole."""
    stored, parameter = assignment.row.lies.letters
    plain = (
        assignment.row.lies.part is assignment.row.lies.cut is assignment.row.lies.blocks is None
    )
    return plain and bool(stored) and stored.split()[::-1] == parameter.split()


def _arrays_of(meaning: Grouping | Blocks) -> Callable[[Arrays], Arrays]:
    """The function from the arrays of a stored tensor to those of a layer."""
    return meaning.in_memory if isinstance(meaning, Blocks) else lambda arrays: arrays


def _shapes(meaning: Grouping | Blocks, lead: tuple[int, ...]) -> dict[str, Any]:
    """The shapes and dtypes of a stack of layers' arrays, by attribute."""
    return {
        name: jax.ShapeDtypeStruct((*lead, *array.shape), array.dtype)
        for name, array in meaning.arrays.items()
    }

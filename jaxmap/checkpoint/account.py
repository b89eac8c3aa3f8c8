"""Matches the parameters of an architecture with the tensors of a checkpoint, both ways.

Each parameter is filled once and each tensor is claimed by a parameter; anything left over is an
error that names it.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from jaxmap.architectures.rows import Row, row_key_of
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.errors import InputError
from jaxmap.model import decoder
from jaxmap.model.spec import Spec

_SHOWN = 5  # the number of names in an error message


@dataclasses.dataclass(frozen=True)
class Assignment:
    """A parameter and the stored tensors that fill it, in order: one per layer or per expert.

    Fields:
      path: the path of the parameter.
      row: its assignment in a checkpoint.
      names: the names of the stored tensors.
      shape: the shape of the parameter.
      item: the shape of the part that one stored tensor fills.
    """

    path: str
    row: Row
    names: tuple[str, ...]
    shape: tuple[int, ...]
    item: tuple[int, ...]


@functools.lru_cache(maxsize=4)
def parameter_shapes(spec: Spec) -> Mapping[str, tuple[int, ...]]:
    """The shape of every parameter of the decoder, by path."""
    _, shapes = decoder.abstract(spec)
    return MappingProxyType({p: leaf.shape for p, leaf in decoder.named(shapes).items()})


def account(
    checkpoint: Checkpoint, tensors: Mapping[str, Stored], listed: Mapping[str, str]
) -> tuple[list[Assignment], Spec]:
    """Finds the stored tensors of each parameter; returns the assignments and the spec.

    The spec may change: the tensors can show that the head is not tied, and what else the family
    reads off their shapes. Nothing is read except the
    embedding and the head if both are stored although config.json says that they are tied.

    Args:
      checkpoint: the checkpoint, whose config.json defines the parameters.
      tensors: the stored tensors.
      listed: the file of each tensor according to the index, for messages.

    Raises:
      InputError: for tensors that are missing, left over, not floats, or of a shape that
        contradicts config.json.
    """
    family, spec = checkpoint.architecture.family, checkpoint.architecture.spec
    bare = not any(name.startswith(family.prefix) for name in tensors)

    def shape_of(name: str) -> tuple[int, ...] | None:
        stored = tensors.get(name.removeprefix(family.prefix) if bare else name)
        return None if stored is None else stored.shape

    if family.by_shapes is not None:
        spec = family.by_shapes(spec, shape_of)
    rows = dict(family.rows(spec))

    def names_of(row: Row, layer: int | str | None = None, expert: int | None = None) -> list[str]:
        names = [n.format(l=layer, e=expert) for n in (row.name, *row.other_names)]
        return [n.removeprefix(family.prefix) for n in names] if bare else names

    def found(row: Row, layer: int | str | None = None, expert: int | None = None) -> str:
        names = names_of(row, layer, expert)
        return next((n for n in names if n in tensors), names[0])

    head, embed = found(rows["head"]), found(rows["embed"])
    if spec.tied and head in tensors:
        if embed in tensors:
            # Some files have both, with different values although config.json says tied.
            one, other = tensors[head], tensors[embed]
            same = one.is_float and other.is_float and np.array_equal(one.read(), other.read())
            spec = dataclasses.replace(spec, tied=same)
        else:
            # Some tools save a shared tensor under its first name only: it is used for both.
            rows["embed"] = rows["head"]

    assignments = []
    for path, shape in parameter_shapes(spec).items():
        key, layers = row_key_of(path, spec)
        row = rows[key]
        item = shape if layers == (None,) else shape[1:]
        while row.otherwise is not None and _otherwise(row, item, found, layers[0], tensors):
            row = row.otherwise
        experts: tuple[int | None, ...] = (None,)
        if "{e}" in row.name:
            experts, item = tuple(range(item[0])), item[1:]
        names = tuple(found(row, layer, expert) for layer in layers for expert in experts)
        assignments.append(Assignment(path, row, names, shape, item))

    claimed = {name for assignment in assignments for name in assignment.names}
    by_size = () if family.inert_by_size is None else family.inert_by_size(spec)
    inert = re.compile("|".join((*family.inert_tensors, *by_size)) or r"(?!)")
    further = range(spec.L, spec.L + checkpoint.architecture.extra_layers)
    extra = {
        name
        for name in set(tensors) - claimed
        if not inert.search(name) and not _is_of(name, further)
    }
    if spec.tied:
        extra.discard(head)
    _refuse_unmatched(checkpoint, sorted(claimed - set(tensors)), sorted(extra), tensors, listed)
    for assignment in assignments:
        _check_shapes(assignment, tensors)
    return assignments, spec


def not_of_the_text(
    checkpoint: Checkpoint, tensors: Mapping[str, Stored], assignments: Sequence[Assignment]
) -> set[str]:
    """The tensors that do not belong to the text model.

    They belong to vision or audio models in the same files, or to multi-token prediction layers.
    """
    left = set(tensors) - {name for assignment in assignments for name in assignment.names}
    if checkpoint.architecture.family.text_type or checkpoint.config().peek("text_config"):
        return left
    L = checkpoint.architecture.spec.L
    further = range(L, L + checkpoint.architecture.extra_layers)
    return {name for name in left if _is_of(name, further)}


def _otherwise(
    row: Row,
    item: tuple[int, ...],
    found: Callable[[Row, int | str | None, int], str],
    layer: int | str | None,
    tensors: Mapping[str, Stored],
) -> bool:
    """Whether a file has a parameter where `row.otherwise` says, by its first tensor.

    Under the same name the axes may stand in another order.
    """
    assert row.otherwise is not None
    first, other = found(row, layer, 0), found(row.otherwise, layer, 0)
    if first not in tensors or first != other:
        return first not in tensors
    want, turned = (one.lies.stored_shape(item) for one in (row, row.otherwise))
    return tensors[first].shape != want and tensors[first].shape == turned


def _is_of(name: str, layers: range) -> bool:
    """Whether a tensor belongs to one of the layers, by its name."""
    found = re.search(r"\.layers\.(\d{1,6})\.", name)
    return found is not None and int(found[1]) in layers


def _refuse_unmatched(
    checkpoint: Checkpoint,
    missing: Sequence[str],
    extra: Sequence[str],
    tensors: Mapping[str, Stored],
    listed: Mapping[str, str],
) -> None:
    problems = []
    if missing:
        near = difflib.get_close_matches(missing[0], extra or list(tensors), 1)
        hint = f" (nearest in the files: {near[0]})" if near else ""
        if missing[0] in listed:
            hint = f" (the index puts {missing[0]} in {listed[missing[0]]}, which lacks it)"
        problems.append(f"missing tensors: {names_for_message(missing)}{hint}")
    if extra:
        problems.append(f"tensors that nothing claims: {names_for_message(extra)}")
    if problems:
        raise InputError(f"{checkpoint.where}: {'; '.join(problems)}")


def _check_shapes(assignment: Assignment, tensors: Mapping[str, Stored]) -> None:
    want = assignment.row.lies.stored_shape(assignment.item)
    for name in assignment.names:
        stored = tensors[name]
        if stored.shape != want:
            raise InputError(
                f"{stored.file}: {name} has shape {list(stored.shape)}, "
                f"but config.json makes it {list(want)}"
            )
        if not stored.is_float:
            raise InputError(
                f"{stored.file}: {name} is stored as {stored.dtype_name}; weights must be "
                "float64, float32, float16 or bfloat16"
            )


def names_for_message(names: Sequence[str]) -> str:
    """The first few names, and the number of the others."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

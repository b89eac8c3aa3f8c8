"""Matches the parameters of an architecture with the tensors of a checkpoint, both ways.

Each parameter is filled once and each tensor is claimed; what is left over is an error that names
it.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from jaxmap.architectures.rows import Row, place_of
from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.errors import InputError
from jaxmap.model import decoder
from jaxmap.model.spec import Spec

_SHOWN = 5  # names in an error


@dataclasses.dataclass(frozen=True)
class Place:
    """A parameter and the stored tensors that fill it, in order: one a layer, or one an expert.

    Fields:
      path: of the parameter.
      row: where it stands.
      names: of the stored tensors.
      shape, item: of the parameter, and of the part of it that one stored tensor fills.
    """

    path: str
    row: Row
    names: tuple[str, ...]
    shape: tuple[int, ...]
    item: tuple[int, ...]


@functools.lru_cache(maxsize=4)
def parameter_shapes(spec: Spec) -> Mapping[str, tuple[int, ...]]:
    """Path -> shape of every parameter that the decoder has."""
    _, shapes = decoder.abstract(spec)
    return MappingProxyType({p: leaf.shape for p, leaf in decoder.named(shapes).items()})


def account(
    checkpoint: Checkpoint, tensors: Mapping[str, Stored], listed: Mapping[str, str]
) -> tuple[list[Place], Spec]:
    """The place of each parameter, and the spec, whose head may turn out not to be tied.

    Nothing is read but the two tensors of a doubtful tied head.

    Args:
      checkpoint: whose config.json says what there should be.
      tensors: what there is.
      listed: the file that an index puts each tensor in, for messages.

    Raises InputError for tensors that are missing, left over, of another shape than config.json
    makes them, or not of floats.
    """
    family, spec = checkpoint.architecture.family, checkpoint.architecture.spec
    bare = not any(name.startswith(family.prefix) for name in tensors)
    rows = dict(family.rows(spec))

    def names_of(row: Row, layer: int | None = None, expert: int | None = None) -> list[str]:
        names = [n.format(l=layer, e=expert) for n in (row.name, *row.other_names)]
        return [n.removeprefix(family.prefix) for n in names] if bare else names

    def found(row: Row, layer: int | None = None, expert: int | None = None) -> str:
        names = names_of(row, layer, expert)
        return next((n for n in names if n in tensors), names[0])

    head, embed = found(rows["head"]), found(rows["embed"])
    if spec.tied and head in tensors:
        if embed in tensors:
            # Some files hold both, and some hold different values whatever config.json says.
            one, other = tensors[head], tensors[embed]
            same = one.is_float and other.is_float and np.array_equal(one.read(), other.read())
            spec = dataclasses.replace(spec, tied=same)
        else:
            # Of shared tensors some savers keep the first name only: one serves both.
            rows["embed"] = rows["head"]

    places = []
    for path, shape in parameter_shapes(spec).items():
        key, layers = place_of(path, spec)
        row = rows[key]
        if row.otherwise is not None and found(row, layers[0], 0) not in tensors:
            row = row.otherwise
        item = shape if layers == (None,) else shape[1:]
        experts: tuple[int | None, ...] = (None,)
        if "{e}" in row.name:
            experts, item = tuple(range(item[0])), item[1:]
        names = tuple(found(row, layer, expert) for layer in layers for expert in experts)
        places.append(Place(path, row, names, shape, item))

    claimed = {name for place in places for name in place.names}
    inert = re.compile("|".join(family.inert_tensors) or r"(?!)")
    further = range(spec.L, spec.L + checkpoint.architecture.extra_layers)
    extra = {
        name
        for name in set(tensors) - claimed
        if not inert.search(name) and not _is_of(name, further)
    }
    if spec.tied:
        extra.discard(head)
    _refuse_unmatched(checkpoint, sorted(claimed - set(tensors)), sorted(extra), tensors, listed)
    for place in places:
        _check_shapes(place, tensors)
    return places, spec


def not_of_the_text(
    checkpoint: Checkpoint, tensors: Mapping[str, Stored], places: Sequence[Place]
) -> set[str]:
    """Tensors of a whole checkpoint that belong to other models in its files: those that see or
    hear, and layers that predict tokens after the next one."""
    left = set(tensors) - {name for place in places for name in place.names}
    if checkpoint.config().peek("text_config"):
        return left
    L = checkpoint.architecture.spec.L
    further = range(L, L + checkpoint.architecture.extra_layers)
    return {name for name in left if _is_of(name, further)}


def _is_of(name: str, layers: range) -> bool:
    """Whether a tensor is of one of some layers, by its name."""
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
        raise InputError(f"{checkpoint.folder}: {'; '.join(problems)}")


def _check_shapes(place: Place, tensors: Mapping[str, Stored]) -> None:
    want = place.row.lies.stored_shape(place.item)
    for name in place.names:
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
    """The first few of some names, and how many there are besides."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more

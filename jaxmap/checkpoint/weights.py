"""Loads a checkpoint's files into a decoder's parameters.

with weights.opened(checkpoint) as found:        # every tensor is accounted for, nothing is read
    model = weights.load(found, dtype="float32")
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from absl import logging
from flax import nnx
from jax.sharding import Mesh

from jaxmap.checkpoint.account import (
    Assignment,
    account,
    names_for_message,
    not_of_the_text,
)
from jaxmap.checkpoint.checkpoint import ADAPTER, Checkpoint
from jaxmap.checkpoint.coded_weights import CodedDecoder
from jaxmap.checkpoint.encodings import decoded
from jaxmap.checkpoint.formats import index_of, open_adapter, open_tensors
from jaxmap.checkpoint.host_memory import own_pages
from jaxmap.checkpoint.lora import merged, read_adapter
from jaxmap.checkpoint.open_checkpoint import Model, Opened, Tensor, leaves_of
from jaxmap.checkpoint.sharded_weights import Reader, finite, read_all
from jaxmap.errors import InputError
from jaxmap.model import decoder
from jaxmap.model.mesh import Axes, axes_of
from jaxmap.model.spec import Spec
from jaxmap.progress import progress

__all__ = ["Model", "Opened", "Take", "Tensor", "load", "observed", "opened", "read",
           "read_assignments", "shapes", "shapes_on"]  # fmt: skip

Take = Callable[[str, np.ndarray], None]  # a tensor's key and its numbers

_BAR_BYTES = 1 << 30  # bytes from which reading shows a progress bar


@functools.cache
def _say_once(left_out: str) -> None:
    logging.warning("of copies that also keep %s only the weights are read", left_out)


@contextlib.contextmanager
def opened(where: Path | Checkpoint) -> Iterator[Opened]:
    """Opens a checkpoint and accounts for all its tensors.

    Raises InputError for files that are missing or damaged, and for tensors that are missing, left
    over, or of the wrong shape or dtype.
    """
    checkpoint = Checkpoint.of(where)
    encoding = checkpoint.architecture.encoding  # errors of config.json come first
    with contextlib.ExitStack() as stack:
        tensors = stack.enter_context(open_tensors(checkpoint.folder))
        floats = decoded(encoding, tensors)
        if checkpoint.has_adapter:
            own = checkpoint.folder / ADAPTER
            family, spec, *_ = checkpoint.architecture
            adapter = read_adapter(own, stack.enter_context(open_adapter(own)))
            rows = family.rows(spec)
            tied = (rows["embed"].name, rows["head"].name) if spec.tied else None
            floats = merged(floats, adapter, family.prefix, tied=tied)
        if encoding is not None and encoding.approximates:
            _say_once(encoding.approximates)
        assignments, spec = account(checkpoint, floats, index_of(checkpoint.folder))
        others = not_of_the_text(checkpoint, floats, assignments)
        yield Opened(
            checkpoint, spec, assignments, floats, sum(floats[name].file_bytes for name in others)
        )


def shapes(found: Opened, dtype: str = "auto", *, in_codes: bool = False) -> Model:
    """The model on one device with shapes instead of arrays, before its weights are read."""
    dtype = found.dtype(dtype)
    coded = found.in_codes(dtype) if in_codes else None
    return found.model(dtype, _structs(found, dtype, None, coded), coded=coded)


def shapes_on(
    found: Opened, dtype: str, axes: Axes, *, in_codes: bool
) -> tuple[nnx.GraphDef, nnx.State, Spec]:
    """The structure, parameter shapes and spec of what a mesh with these axes holds."""
    coded = found.in_codes(dtype, axes) if in_codes else None
    own = found.padded_spec(axes)
    graph, leaves = leaves_of(own, dtype)
    if coded is not None:
        graph, leaves = coded.graph, coded.leaves
    structs = _structs(found, dtype, axes, coded)
    params = decoder.from_named({p: leaf.replace(structs[p]) for p, leaf in leaves.items()})
    return graph, params, own


def _structs(
    found: Opened, dtype: str, axes: Axes | None, coded: CodedDecoder | None
) -> dict[str, jax.ShapeDtypeStruct]:
    kinds = found.dtypes(dtype)
    leaves = leaves_of(found.padded_spec(axes), dtype)[1] if coded is None else coded.leaves
    return {
        p: jax.ShapeDtypeStruct(leaf.shape, kinds.get(p, leaf.dtype)) for p, leaf in leaves.items()
    }


def load(
    where: Path | Checkpoint | Opened,
    *,
    dtype: str = "auto",
    mesh: Mesh | None = None,
    tensors: Iterable[Tensor] | None = None,
    in_codes: bool = False,
) -> Model:
    """Loads a checkpoint onto the default device, or onto a mesh.

    Args:
      where: a folder, a checkpoint, or an open checkpoint.
      dtype: a key of PRECISIONS, or "auto" (`default_dtype`).
      mesh: the devices; each of several processes reads its own part.
      tensors: the tensors of `Opened.read`, for one device only; the caller may read them on the
        way (`observed`).
      in_codes: whether linear layers keep the codes of the file if they can; else all are floats.

    Raises:
      InputError: for tensors that are missing, left over, of the wrong shape, or not finite. With
        several processes, only the processes that read a bad part raise it.
    """
    if not isinstance(where, Opened):
        with opened(where) as found:
            return load(found, dtype=dtype, mesh=mesh, tensors=tensors, in_codes=in_codes)
    dtype = where.dtype(dtype)
    kinds = where.dtypes(dtype)
    axes = None if mesh is None else axes_of(mesh)
    own = where.padded_spec(axes)
    coded = where.in_codes(dtype, axes) if in_codes else None
    skip = frozenset[str]() if coded is None else coded.names
    if mesh is None:
        arrays: dict[str, Any] = dict(_read(where, kinds, tensors, skip))
    else:
        reader = Reader(where.tensors, mesh, where.spec, own)
        assignments = [
            assignment
            for assignment in where.assignments
            if not skip.intersection(assignment.names)
        ]
        parts = read_all(reader, assignments, leaves_of(own, dtype)[1], kinds, _BAR_BYTES)
        for assignment in assignments:
            one = parts[assignment.path]
            _check_finite(where, assignment, one.raw, one.cast, kinds[assignment.path])
        arrays = {path: one.array for path, one in parts.items()}
    if coded is not None:
        arrays |= coded.read(where.tensors, mesh, own)
    return where.model(dtype, arrays, mesh, coded)


def read_assignments(
    where: Opened, assignments: Sequence[Assignment], dtype: str
) -> dict[str, jax.Array]:
    """Reads some parameters of an open checkpoint onto the default device, by path.

    Args:
      assignments: parts of `where.assignments`: whole parameters, or some layers of one.
      dtype: the precision, a key of PRECISIONS.

    Raises InputError for weights that are not finite.
    """
    part = dataclasses.replace(where, assignments=assignments)
    return _read(part, where.dtypes(dtype), None, frozenset())


def read(where: Path | Checkpoint) -> Iterator[Tensor]:
    """Reads the tensors of a checkpoint as `load` does, without making a model."""
    with opened(where) as found:
        for key, stored in found.read():
            if not np.isfinite(stored).all():
                folder = found.checkpoint.where
                raise InputError(f"{folder}: NaN or infinite weights in {key}")
            yield key, stored


def observed(tensors: Iterable[Tensor], take: Take) -> Iterator[Tensor]:
    """Yields the tensors after calling `take` with each."""
    for key, stored in tensors:
        take(key, stored)
        yield key, stored


def _read(
    found: Opened,
    dtypes: Mapping[str, np.dtype],
    tensors: Iterable[Tensor] | None,
    skip: frozenset[str],
) -> dict[str, jax.Array]:
    """Reads every tensor once, directly into the parameters that it fills.

    Tensors in `skip` are read only if `tensors` are given, whose caller reads them.
    """
    groups = found.groups()
    if tensors is None:
        groups = [group for group in groups if not skip.intersection(group[0])]
        tensors = ((name, found.tensors[name].read()) for names, _ in groups for name in names)
    total = sum(found.tensors[name].num_bytes for names, _ in groups for name in names)
    arrays: dict[str, jax.Array] = {}
    stream = iter(tensors)
    with progress(total, "load", "B", unit_scale=True, disable=total < _BAR_BYTES) as bar:
        for names, group in groups:
            if skip.intersection(names):
                for _ in names:
                    next(stream)
                continue
            whole = {p.path: own_pages(p.shape, dtypes[p.path]) for p in group}
            raw, cast = np.ones(len(names), bool), np.ones((len(group), len(names)), bool)
            for i, name in enumerate(names):
                _, stored = next(stream)
                bar.update(stored.nbytes)
                with np.errstate(over="ignore"):  # overflow is found below
                    as_stored = stored.astype(found.tensors[name].float_dtype, copy=False)
                    raw[i] = finite(as_stored)
                    for j, assignment in enumerate(group):
                        stack = whole[assignment.path].reshape(len(names), *assignment.item)
                        stack[i] = assignment.row.lies.read(as_stored, assignment.item)
                        if stack.dtype != as_stored.dtype and raw[i]:
                            cast[j, i] = finite(stack[i])
            for j, assignment in enumerate(group):
                _check_finite(found, assignment, raw, cast[j], dtypes[assignment.path])
                # On a CPU this is the same memory, elsewhere a necessary copy.
                arrays[assignment.path] = jax.device_put(whole.pop(assignment.path))
    return arrays


def _check_finite(
    found: Opened, assignment: Assignment, raw: np.ndarray, cast: np.ndarray, dtype: np.dtype
) -> None:
    folder = found.checkpoint.where
    if not raw.all():
        bad = [assignment.names[i] for i in np.flatnonzero(~raw)]
        raise InputError(f"{folder}: NaN or infinite weights in {names_for_message(bad)}")
    if not cast.all():
        bad = [assignment.names[i] for i in np.flatnonzero(~cast)]
        raise InputError(
            f"{folder}: weights overflow {dtype.name} in {names_for_message(bad)}; use "
            "`dtype=float32` or bfloat16"
        )

"""Loads a checkpoint's files onto the devices of a mesh; each process reads only its own part.

A parameter is a view of the memory-mapped file (`Layout.read`). The part of a device is a slice of
this view; only this slice is read, once for all devices with the same part.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from jaxmap.checkpoint.account import Assignment
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.model.layout import Layout
from jaxmap.model.mesh import axes_of, letters_of, partition
from jaxmap.model.padded_axis import padded_axis
from jaxmap.model.spec import Spec
from jaxmap.progress import progress

Pick = slice | np.ndarray  # some entries of an axis

_PART = 1 << 18  # numbers that are checked at a time


@dataclasses.dataclass
class Read:
    """A parameter on its devices, with the result of checking that it is finite.

    Fields:
      array: the parameter.
      raw, cast: bool [names], whether this process's part of each stored tensor is finite, as it is
        stored and in the parameter's dtype.
    """

    array: jax.Array
    raw: np.ndarray
    cast: np.ndarray


class Reader:
    """Reads parameters onto a mesh.

    Args:
      spec, padded: the spec of the checkpoint, and the result of `padding.padded_spec` for it.
    """

    def __init__(self, tensors: Mapping[str, Stored], mesh: Mesh, spec: Spec, padded: Spec):
        self._tensors = tensors
        self._mesh = mesh
        self._specs = (spec, padded)

    def sharding(self, leaf: nnx.Variable) -> NamedSharding:
        """How the devices divide a parameter."""
        return NamedSharding(self._mesh, partition(leaf, self._specs[1], axes_of(self._mesh)))

    def num_bytes(self, leaf: nnx.Variable, dtype: np.dtype) -> int:
        """The bytes of this process's parts of a parameter, each part counted once."""
        parts = _parts(self.sharding(leaf), leaf.shape)
        sizes = [np.prod([stop - start for start, stop in index]) for index in parts]
        return int(sum(sizes)) * np.dtype(dtype).itemsize

    def read(self, assignment: Assignment, leaf: nnx.Variable, dtype: np.dtype) -> Read:
        """Reads one parameter.

        Args:
          assignment: the parameter and its stored tensors.
          leaf: its shape on the devices, and its letters.
          dtype: its dtype on the devices.
        """
        sharding = self.sharding(leaf)
        raw, cast = np.ones(len(assignment.names), bool), np.ones(len(assignment.names), bool)
        on = {}
        for index, devices in _parts(sharding, leaf.shape).items():
            block = self._block(assignment, leaf, index, dtype, raw, cast)
            for device in devices:
                on[device] = jax.device_put(block, device)
        order = sharding.addressable_devices_indices_map(leaf.shape)
        array = jax.make_array_from_single_device_arrays(
            leaf.shape, sharding, [on[device] for device in order]
        )
        # Waiting keeps at most two parameters on the host.
        return Read(array.block_until_ready(), raw, cast)

    def _block(
        self,
        assignment: Assignment,
        leaf: nnx.Variable,
        index: tuple[tuple[int, int], ...],
        dtype: np.dtype,
        raw: np.ndarray,
        cast: np.ndarray,
    ) -> np.ndarray:
        """The entries index[i][0] to index[i][1] - 1 of every axis i, in `dtype`."""
        block = np.zeros([stop - start for start, stop in index], dtype)
        letters = letters_of(leaf) or " " * len(leaf.shape)
        from_, to = [], []
        for letter, size, padded_size, (start, stop) in zip(
            letters, assignment.shape, leaf.shape, index, strict=True
        ):
            origin = padded_axis(letter, size, padded_size, *self._specs).origins[start:stop]
            to.append(np.flatnonzero(origin >= 0))
            from_.append(origin[origin >= 0])
        if not all(map(len, to)):  # nothing but padding
            return block
        lead = len(assignment.shape) - len(
            assignment.item
        )  # axes of layers and experts, with one tensor each
        kind = np.dtype(jnp.result_type(*{self._tensors[n].float_dtype for n in assignment.names}))
        into = tuple(map(_pick, to[lead:]))
        for source, target in zip(
            itertools.product(*from_[:lead]), itertools.product(*to[:lead]), strict=True
        ):
            at = int(np.ravel_multi_index(source, assignment.shape[:lead])) if lead else 0
            view, picks = _narrowed(
                assignment.row.lies,
                self._tensors[assignment.names[at]].mapped(),
                assignment.item,
                from_[lead:],
            )
            piece = copied(assignment.names[at], view, picks)
            with np.errstate(over="ignore"):  # overflow is found below
                piece = piece.astype(kind, copy=False)
                value = piece.astype(dtype, copy=False)
            raw[at] &= finite(piece)
            cast[at] &= finite(value)
            # With the ellipsis a single number is a view too, and not a copy.
            where: tuple[Any, ...] = (*target, ...)
            _put(block[where] if lead else block, into, value)
        return block


def _parts(
    sharding: NamedSharding, shape: Sequence[int]
) -> dict[tuple[tuple[int, int], ...], list[Any]]:
    """The different parts on this process's devices, and the devices of each part."""
    parts: dict[tuple[tuple[int, int], ...], list[Any]] = {}
    for device, index in sharding.addressable_devices_indices_map(tuple(shape)).items():
        assert index is not None
        key = tuple(part.indices(size)[:2] for part, size in zip(index, shape, strict=True))
        parts.setdefault(key, []).append(device)
    return parts


def _pick(entries: np.ndarray) -> Pick:
    """A slice if possible, for which NumPy makes a view and the file is read in order."""
    if len(entries) and (np.diff(entries) == 1).all():
        return slice(int(entries[0]), int(entries[-1]) + 1)
    return entries


def _all(picks: Sequence[Pick], shape: Sequence[int]) -> tuple:
    """An index in which each list of entries applies to its own axis."""
    if sum(isinstance(pick, np.ndarray) for pick in picks) < 2:
        return tuple(picks)
    axes = [np.arange(size)[pick] for pick, size in zip(picks, shape, strict=True)]
    return np.ix_(*axes)


def copied(name: str, view: np.ndarray, picks: Sequence[Pick]) -> np.ndarray:
    """Reads the picked entries of a memory-mapped tensor from disk (nothing else reads them)."""
    return np.array(view[_all(picks, view.shape)])


def _put(block: np.ndarray, picks: Sequence[Pick], value: np.ndarray) -> None:
    block[_all(picks, block.shape)] = value


def _narrowed(
    layout: Layout, stored: np.ndarray, item: tuple[int, ...], wanted: Sequence[np.ndarray]
) -> tuple[np.ndarray, list[Pick]]:
    """The parameter as a view of the stored tensor, and the entries to pick from it.

    Blocks that are not adjacent cannot form a view; the needed ones are picked first.
    """
    picks = [_pick(entries) for entries in wanted]
    if layout.blocks and layout.pattern:
        which, of = layout.blocks
        stored_letters, letters = layout.letters
        outer = stored_letters.replace("(", " ").split()[0]
        axis = letters.split().index(outer) - (layout.part is not None)
        each, rest = divmod(len(which), item[axis])
        if axis >= 0 and not rest:
            own = np.asarray(which).reshape(item[axis], each)[wanted[axis]]
            layout = dataclasses.replace(layout, blocks=(tuple(own.reshape(-1).tolist()), of))
            item = (*item[:axis], len(wanted[axis]), *item[axis + 1 :])
            picks[axis] = slice(None)
    return layout.read(stored, item), picks


def finite(x: np.ndarray) -> bool:
    """Whether every number is finite.

    16-bit floats are checked by their exponents, which is several times faster. The array is
    checked in parts that fit into the cache, with little additional memory.
    """
    if not x.flags.c_contiguous:
        return bool(np.isfinite(x).all())
    flat = x.reshape(-1)
    parts = (flat[start : start + _PART] for start in range(0, flat.size, _PART))
    if x.dtype.itemsize == 2:
        exponent = np.uint16(0x7C00 if x.dtype == np.float16 else 0x7F80)
        return all(not ((part.view(np.uint16) & exponent) == exponent).any() for part in parts)
    return all(np.isfinite(part).all() for part in parts)


def read_all(
    reader: Reader,
    assignments: Sequence[Assignment],
    leaves: Mapping[str, nnx.Variable],
    dtypes: Mapping[str, Any],
    bar_bytes: int,
) -> dict[str, Read]:
    """Reads every parameter, by path, with a progress bar for more than `bar_bytes`."""
    sizes = {p.path: reader.num_bytes(leaves[p.path], dtypes[p.path]) for p in assignments}
    total = sum(sizes.values())
    found = {}
    with progress(total, "load", "B", unit_scale=True, disable=total < bar_bytes) as bar:
        for assignment in assignments:
            found[assignment.path] = reader.read(
                assignment, leaves[assignment.path], dtypes[assignment.path]
            )
            bar.update(sizes[assignment.path])
    return found

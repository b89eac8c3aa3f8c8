"""Loads a checkpoint's files into a decoder's parameters.

with weights.opened(checkpoint) as found:        # every tensor is accounted for, nothing is read
    model = weights.load(found, dtype="float32")
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import nnx
from jax.sharding import Mesh

from jaxmap.checkpoint.account import (
    Place,
    account,
    names_for_message,
    not_of_the_text,
)
from jaxmap.checkpoint.checkpoint import ADAPTER, Checkpoint
from jaxmap.checkpoint.coded_weights import CodedDecoder, coded_decoder
from jaxmap.checkpoint.encodings import decoded
from jaxmap.checkpoint.formats import index_of, open_adapter, open_tensors
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.checkpoint.lora import merged, read_adapter
from jaxmap.checkpoint.memory import own_pages
from jaxmap.checkpoint.sharded_weights import Reader, finite, read_all
from jaxmap.checkpoint.storage import Storage
from jaxmap.errors import InputError
from jaxmap.model import decoder
from jaxmap.model.encodings.codes import Int8Rows
from jaxmap.model.mesh import Axes, axes_of
from jaxmap.model.padding import padded_spec
from jaxmap.model.spec import Spec
from jaxmap.precision import PRECISIONS, default_dtype
from jaxmap.progress import progress

# A stored tensor that was read: its key, which does not depend on the file format, and its numbers
# as stored.
Tensor = tuple[str, np.ndarray]
Take = Callable[[str, np.ndarray], None]

_BAR_BYTES = 1 << 30  # bytes from which reading shows a progress bar


@dataclasses.dataclass(frozen=True)
class Model:
    """A decoder in memory.

    Fields:
      spec: its architecture.
      graph, params: `nnx.merge(graph, params)` is the `Decoder`.
      dtype: its precision, a key of PRECISIONS.
      stored_dtype: the dtype of most weights on disk.
      model_type: the model_type of config.json.
      num_parameters: the number of weights.
      storage: the storage of the weights in files, or in memory for a quantised copy.
      quantisation: the quantisation of its linear layers, one of QUANTISATIONS.
      mesh: the devices, if there are several; graph and params are then padded
        (`padding.padded_spec`).
      in_codes: whether linear layers are held in the codes of the file.
    """

    spec: Spec
    graph: nnx.GraphDef
    params: nnx.State
    dtype: str
    stored_dtype: str
    model_type: str
    num_parameters: int
    storage: Storage
    quantisation: str = "none"
    mesh: Mesh | None = None
    in_codes: bool = False

    @property
    def num_layers(self) -> int:
        """L, so that layers of the lens are 0 to L."""
        return self.spec.L

    @property
    def context(self) -> int | None:
        """The most ids of a text; None: no limit."""
        return self.spec.context


@dataclasses.dataclass(frozen=True)
class Opened:
    """A checkpoint whose files are open and whose tensors are all accounted for, but not read.

    Fields:
      checkpoint: the folder.
      spec: the architecture; the tensors have decided whether the head is tied.
      places: the places of the parameters.
      tensors: the tensors of the files, by name.
      other_bytes: the bytes of tensors that are not part of the text model, such as vision.
    """

    checkpoint: Checkpoint
    spec: Spec
    places: Sequence[Place]
    tensors: Mapping[str, Stored]
    other_bytes: int = 0

    @property
    def name(self) -> str:
        """The folder's own name."""
        return self.checkpoint.name

    @property
    def stored_dtype(self) -> str:
        """The dtype of most of the stored numbers (`Stored.float_dtype`)."""
        sizes: Counter[str] = Counter()
        for name in {name for place in self.places for name in place.names}:
            sizes[self.tensors[name].float_dtype.name] += math.prod(self.tensors[name].shape)
        return sizes.most_common(1)[0][0]

    def dtype(self, asked: str) -> str:
        """The precision in which to load it; "auto" stands for `default_dtype`."""
        if asked != "auto":
            return asked
        return default_dtype(jax.default_backend(), self.stored_dtype)

    def groups(self) -> list[tuple[tuple[str, ...], list[Place]]]:
        """The stored tensors in the order of reading, with the places that they fill.

        The parts of a fused tensor are read together.
        """
        together: dict[tuple[str, ...], list[Place]] = {}
        for place in self.places:
            together.setdefault(place.names, []).append(place)
        return list(together.items())

    def stored(self) -> dict[str, Stored]:
        """The stored tensors from which the parameters are read, each once, by key.

        Buffers, and the second of two tied tensors, are not included.
        """
        return {
            f"{group[0].path}[{i}]": self.tensors[name]
            for names, group in self.groups()
            for i, name in enumerate(names)
        }

    def read(self) -> Iterator[Tensor]:
        """Reads each stored tensor once, in the order that `load` needs."""
        for key, one in self.stored().items():
            yield key, one.read()

    def dtypes(self, dtype: str) -> dict[str, np.dtype]:
        """The dtype of each parameter on the devices, by path, in a precision of PRECISIONS."""
        _, leaves = _leaves(self.spec, dtype)
        kinds = {path: np.dtype(leaf.dtype) for path, leaf in leaves.items()}
        if not PRECISIONS[dtype].weights:
            # Kernels keep the dtype in which they are stored, the widest of their tensors.
            for place in self.places:
                if place.path.endswith("/kernel") or place.path in ("embed", "head"):
                    stored = {self.tensors[name].float_dtype for name in place.names}
                    kinds[place.path] = np.dtype(jnp.result_type(*stored))
        return kinds

    def in_codes(self, dtype: str, axes: Axes | None = None) -> CodedDecoder | None:
        """The structure with layers in the codes of the file; None where there are none."""
        activations = jnp.dtype(PRECISIONS[dtype].activations)
        return coded_decoder(
            self.spec, self.padded_spec(axes), activations, self.groups(), self.tensors
        )

    @property
    def quantises_activations(self) -> bool:
        """Whether layers in codes do what layers of floats cannot, as LLM.int8() does."""
        coded = (one.codes for one in self.tensors.values())
        return any(one is not None and isinstance(one.meaning, Int8Rows) for one in coded)

    def padded_spec(self, axes: Axes | None) -> Spec:
        """The spec of what the devices of a mesh hold."""
        return self.spec if axes is None else padded_spec(self.spec, axes)

    def model(
        self,
        dtype: str,
        arrays: Mapping[str, Any],
        mesh: Mesh | None = None,
        coded: CodedDecoder | None = None,
    ) -> Model:
        """The model with these arrays, by path, which may be shapes only."""
        axes = None if mesh is None else axes_of(mesh)
        graph, leaves = _leaves(self.padded_spec(axes), dtype)
        if coded is not None:
            graph, leaves = coded.graph, coded.leaves
        params = decoder.from_named({p: leaf.replace(arrays[p]) for p, leaf in leaves.items()})
        count = sum(math.prod(place.shape) for place in self.places)
        kind = self.checkpoint.architecture.model_type
        stored, storage = self.stored_dtype, self.storage(count)
        return Model(
            *(self.spec, graph, params, dtype, stored, kind, count, storage),
            mesh=mesh,
            in_codes=coded is not None,
        )

    def storage(self, num_parameters: int) -> Storage:
        """The storage of the text model's weights in the files."""
        one, parts = self.checkpoint, self.other_bytes
        return Storage(
            (one.encoding or self.stored_dtype) + ("+lora" if one.has_adapter else ""),
            one.num_bytes - parts,
            num_parameters,
            one.file_type,
            one.bits,
        )


@functools.lru_cache(maxsize=4)  # few architectures at a time are in use
def _leaves(spec: Spec, dtype: str) -> tuple[nnx.GraphDef, dict[str, nnx.Variable]]:
    graph, shapes = decoder.abstract(spec, jnp.dtype(PRECISIONS[dtype].activations))
    return graph, decoder.named(shapes)


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
        places, spec = account(checkpoint, floats, index_of(checkpoint.folder))
        others = not_of_the_text(checkpoint, floats, places)
        yield Opened(
            checkpoint, spec, places, floats, sum(floats[name].file_bytes for name in others)
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
    graph, leaves = _leaves(own, dtype)
    if coded is not None:
        graph, leaves = coded.graph, coded.leaves
    structs = _structs(found, dtype, axes, coded)
    params = decoder.from_named({p: leaf.replace(structs[p]) for p, leaf in leaves.items()})
    return graph, params, own


def _structs(
    found: Opened, dtype: str, axes: Axes | None, coded: CodedDecoder | None
) -> dict[str, jax.ShapeDtypeStruct]:
    kinds = found.dtypes(dtype)
    leaves = _leaves(found.padded_spec(axes), dtype)[1] if coded is None else coded.leaves
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
      tensors: the tensors of `Opened.read`, for one device only; the caller may look at them on the
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
        places = [place for place in where.places if not skip.intersection(place.names)]
        parts = read_all(reader, places, _leaves(own, dtype)[1], kinds, _BAR_BYTES)
        for place in places:
            one = parts[place.path]
            _check_finite(where, place, one.raw, one.cast, kinds[place.path])
        arrays = {path: one.array for path, one in parts.items()}
    if coded is not None:
        arrays |= coded.read(where.tensors, mesh, own)
    return where.model(dtype, arrays, mesh, coded)


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

    Tensors in `skip` are read only if `tensors` are given, whose caller looks at them.
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
                    for j, place in enumerate(group):
                        stack = whole[place.path].reshape(len(names), *place.item)
                        stack[i] = place.row.lies.read(as_stored, place.item)
                        if stack.dtype != as_stored.dtype and raw[i]:
                            cast[j, i] = finite(stack[i])
            for j, place in enumerate(group):
                _check_finite(found, place, raw, cast[j], dtypes[place.path])
                # On a CPU this is the same memory, elsewhere a necessary copy.
                arrays[place.path] = jax.device_put(whole.pop(place.path))
    return arrays


def _check_finite(
    found: Opened, place: Place, raw: np.ndarray, cast: np.ndarray, dtype: np.dtype
) -> None:
    folder = found.checkpoint.where
    if not raw.all():
        bad = [place.names[i] for i in np.flatnonzero(~raw)]
        raise InputError(f"{folder}: NaN or infinite weights in {names_for_message(bad)}")
    if not cast.all():
        bad = [place.names[i] for i in np.flatnonzero(~cast)]
        raise InputError(
            f"{folder}: weights overflow {dtype.name} in {names_for_message(bad)}; use "
            "`dtype=float32` or bfloat16"
        )

"""A checkpoint's files to a decoder's parameters, with everything accounted for.

Each parameter is filled once, each tensor of the checkpoint is claimed, each key of config.json
is read or known to be inert; what is left over is an error that names it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from jaxmap.architectures.config import Config, read_json
from jaxmap.architectures.family import Family
from jaxmap.architectures.registry import family_of
from jaxmap.architectures.rows import Row, place_of
from jaxmap.architectures.specs import spec_of
from jaxmap.checkpoint.formats import open_tensors
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.checkpoint.memory import own_pages
from jaxmap.checkpoint.sharded_weights import Reader, finite, read_all
from jaxmap.errors import InputError
from jaxmap.model import decoder
from jaxmap.model.mesh import axes_of
from jaxmap.model.padding import held
from jaxmap.model.spec import Spec
from jaxmap.precision import PRECISIONS, default_dtype
from jaxmap.progress import progress

# Takes a stored tensor as it is read: its key, the same for the same parameters in whatever form of
# file, and its numbers as stored.
Take = Callable[[str, np.ndarray], None]

_SHOWN = 5  # names in an error
_BAR_BYTES = 1 << 30  # reading more than this shows a bar


@dataclasses.dataclass(frozen=True)
class Model:
    """A decoder in memory.

    Fields:
      spec: its architecture.
      graph, params: what `nnx.merge` makes a `Decoder` of.
      dtype: of PRECISIONS.
      stored_dtype: of most of the weights on disk.
      model_type: from config.json.
      num_parameters: numbers in the parameters.
      quantisation: of its linear layers; of QUANTISATIONS.
      mesh: the devices, where they are several; graph and params are then those of `held.held`.
    """

    spec: Spec
    graph: nnx.GraphDef
    params: nnx.State
    dtype: str
    stored_dtype: str
    model_type: str
    num_parameters: int
    quantisation: str = "none"
    mesh: Mesh | None = None


@dataclasses.dataclass(frozen=True)
class _Place:
    """A parameter and the stored tensors that fill it, in order: one a layer, or one an expert."""

    path: str
    row: Row
    names: tuple[str, ...]
    shape: tuple[int, ...]  # of the parameter
    item: tuple[int, ...]  # of the part of it that one stored tensor fills


def read_config(folder: Path, ignore_config_keys: tuple[str, ...] = ()) -> tuple[Family, Spec, str]:
    """The family's page, the spec and the model type of a checkpoint folder."""
    path = folder / "config.json"
    config = Config(read_json(path), str(path))
    family = family_of(config)
    return family, spec_of(config, ignore_config_keys), config["model_type"]


def load(
    folder: Path,
    *,
    dtype: str = "auto",
    ignore_config_keys: tuple[str, ...] = (),
    take: Take | None = None,
    mesh: Mesh | Callable[[Spec, str, str], Mesh | None] | None = None,
    before: Callable[[Model], None] | None = None,
) -> Model:
    """Loads a checkpoint folder onto the default device, or onto a mesh.

    Args:
      folder: holds config.json and the weights.
      dtype: of PRECISIONS, or auto (`default_dtype`).
      ignore_config_keys: keys of config.json declared without effect on the logits.
      take: is given each stored tensor too, as it is read.
      mesh: the devices, or what chooses them by spec, dtype and stored dtype; of several
        processes each reads its own part, and only the first reads all where there is a `take`.
      before: on one device, is given the model before its weights are read, shapes in their place.

    Raises InputError for anything missing, left over, of the wrong shape, or not finite; of
    several processes, only where the part is that is not.
    """
    family, spec, model_type = read_config(folder, ignore_config_keys)
    with open_tensors(folder) as tensors:
        places, spec = _account(folder, family, spec, tensors)
        stored = _stored_dtype(folder, places, tensors)
        if dtype == "auto":
            dtype = default_dtype(jax.default_backend(), stored)
        chosen = mesh if mesh is None or isinstance(mesh, Mesh) else mesh(spec, dtype, stored)
        own = spec if chosen is None else held(spec, axes_of(chosen))
        graph, shapes = decoder.abstract(own, jnp.dtype(PRECISIONS[dtype].activations))
        leaves = decoder.named(shapes)
        dtypes = {p: leaf.dtype for p, leaf in leaves.items()}
        if not PRECISIONS[dtype].weights:
            dtypes |= _as_stored(places, tensors)
        count = sum(math.prod(place.shape) for place in places)

        def model(arrays: Mapping[str, Any]) -> Model:
            params = decoder.from_named({p: leaf.replace(arrays[p]) for p, leaf in leaves.items()})
            return Model(spec, graph, params, dtype, stored, model_type, count, mesh=chosen)

        if chosen is None:
            if before is not None:
                shape_of = jax.ShapeDtypeStruct
                before(model({p: shape_of(leaf.shape, dtypes[p]) for p, leaf in leaves.items()}))
            arrays = _read(folder, places, tensors, dtypes, take)
        else:
            reader = Reader(tensors, chosen, spec, own)
            found = read_all(reader, places, leaves, dtypes, _BAR_BYTES)
            for place in places:
                one, kind = found[place.path], np.dtype(dtypes[place.path])
                _check_finite(folder, place, one.raw, one.cast, kind)
            arrays = {path: one.array for path, one in found.items()}
    if chosen is not None and take is not None and jax.process_index() == 0:
        read(folder, take, ignore_config_keys)
    return model(arrays)


@contextlib.contextmanager
def stored_parameters(
    folder: Path, ignore_config_keys: tuple[str, ...] = ()
) -> Iterator[dict[str, Stored]]:
    """What a folder's parameters are read from: each stored tensor once, by the key of `Take`.

    Buffers, and the second of two tied tensors, are not among them. Raises InputError as `load`.
    """
    family, spec, _ = read_config(folder, ignore_config_keys)
    with open_tensors(folder) as tensors:
        places, _ = _account(folder, family, spec, tensors)
        yield {
            _key(group, i): tensors[name]
            for names, group in _together(places).items()
            for i, name in enumerate(names)
        }


def read(folder: Path, take: Take, ignore_config_keys: tuple[str, ...] = ()) -> None:
    """Reads a checkpoint as `load` does, but only for `take`: no model is made."""
    with stored_parameters(folder, ignore_config_keys) as parameters:
        for key, one in parameters.items():
            stored = one.read()
            if not np.isfinite(stored).all():
                raise InputError(f"{folder}: NaN or infinite weights in {key}")
            take(key, stored)


def parameter_shapes(spec: Spec) -> dict[str, tuple[int, ...]]:
    """Path -> shape of every parameter that the decoder has."""
    _, shapes = decoder.abstract(spec)
    return {path: leaf.shape for path, leaf in decoder.named(shapes).items()}


def _account(
    folder: Path, family: Family, spec: Spec, tensors: Mapping[str, Stored]
) -> tuple[list[_Place], Spec]:
    """Matches parameters with tensors, both ways; nothing is read but a doubtful tied head."""
    bare = not any(name.startswith(family.prefix) for name in tensors)
    all_rows = family.rows(spec)

    def found(row: Row, layer: int | None = None, expert: int | None = None) -> str:
        names = [n.format(l=layer, e=expert) for n in (row.name, *row.other_names)]
        if bare:
            names = [n.removeprefix(family.prefix) for n in names]
        return next((n for n in names if n in tensors), names[0])

    head = found(all_rows["head"])
    embed = found(all_rows["embed"])
    if spec.tied and head in tensors and embed in tensors:
        # Some files hold both, and some hold different values whatever config.json says.
        one, other = tensors[head], tensors[embed]
        floats = one.is_float and other.is_float
        same = floats and np.array_equal(one.read(), other.read())
        spec = dataclasses.replace(spec, tied=same)

    places = []
    for path, shape in parameter_shapes(spec).items():
        key, layers = place_of(path, spec)
        row = all_rows[key]
        if row.otherwise is not None and found(row, layers[0], 0) not in tensors:
            row = row.otherwise
        item = shape if layers == (None,) else shape[1:]
        experts: tuple[int | None, ...] = (None,)
        if "{e}" in row.name:
            experts, item = tuple(range(item[0])), item[1:]
        names = tuple(found(row, layer, expert) for layer in layers for expert in experts)
        places.append(_Place(path, row, names, shape, item))

    claimed = {name for place in places for name in place.names}
    missing = sorted(claimed - set(tensors))
    inert = re.compile("|".join(family.inert_tensors) or r"(?!)")
    extra = sorted(n for n in set(tensors) - claimed if not inert.search(n))
    if spec.tied and head in extra:
        extra.remove(head)
    if missing or extra:
        problems = []
        if missing:
            near = difflib.get_close_matches(missing[0], extra or list(tensors), 1)
            hint = f" (nearest in the files: {near[0]})" if near else ""
            problems.append(f"missing tensors: {_listed(missing)}{hint}")
        if extra:
            problems.append(f"tensors that nothing claims: {_listed(extra)}")
        raise InputError(f"{folder}: {'; '.join(problems)}")
    for place in places:
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
    return places, spec


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _stored_dtype(folder: Path, places: list[_Place], tensors: Mapping[str, Stored]) -> str:
    """The dtype of most of the stored numbers, as they are held here."""
    sizes: Counter[str] = Counter()
    for name in {name for place in places for name in place.names}:
        sizes[tensors[name].float_dtype.name] += int(np.prod(tensors[name].shape))
    return sizes.most_common(1)[0][0]


def _as_stored(places: list[_Place], tensors: Mapping[str, Stored]) -> dict[str, np.dtype]:
    """The dtypes of what is multiplied with: the widest of its stored tensors."""
    return {
        place.path: np.dtype(jnp.result_type(*{tensors[name].float_dtype for name in place.names}))
        for place in places
        if place.path.endswith("/kernel") or place.path in ("embed", "head")
    }


def _together(places: Sequence[_Place]) -> dict[tuple[str, ...], list[_Place]]:
    """The places that the same tensors fill: parts of a fused one, else one alone."""
    together: dict[tuple[str, ...], list[_Place]] = {}
    for place in places:
        together.setdefault(place.names, []).append(place)
    return together


def _key(group: Sequence[_Place], i: int) -> str:
    return f"{group[0].path}[{i}]"


def _read(
    folder: Path,
    places: list[_Place],
    tensors: Mapping[str, Stored],
    dtypes: Mapping[str, np.dtype],
    take: Take | None,
) -> dict[str, jax.Array]:
    """Reads every tensor once, straight into the parameters that it fills."""
    together = _together(places)
    total = sum(tensors[name].num_bytes for names in together for name in names)
    arrays: dict[str, jax.Array] = {}
    with progress(total, "load", "B", unit_scale=True, disable=total < _BAR_BYTES) as bar:
        for names, group in together.items():
            whole = {p.path: own_pages(p.shape, dtypes[p.path]) for p in group}
            raw, cast = np.ones(len(names), bool), np.ones((len(group), len(names)), bool)
            for i, name in enumerate(names):
                stored = tensors[name].read()
                bar.update(stored.nbytes)
                if take is not None:
                    take(_key(group, i), stored)
                with np.errstate(over="ignore"):  # what the dtype cannot hold is found below
                    held_here = stored.astype(tensors[name].float_dtype, copy=False)
                    raw[i] = finite(held_here)
                    for j, place in enumerate(group):
                        stack = whole[place.path].reshape(len(names), *place.item)
                        stack[i] = place.row.lies.read(held_here, place.item)
                        if stack.dtype != held_here.dtype and raw[i]:
                            cast[j, i] = finite(stack[i])
            for j, place in enumerate(group):
                _check_finite(folder, place, raw, cast[j], np.dtype(dtypes[place.path]))
                # On CPU this is the same memory, elsewhere a copy that has to be made.
                arrays[place.path] = jax.device_put(whole.pop(place.path))
    return arrays


def _check_finite(folder: Path, place: _Place, raw: np.ndarray, cast: np.ndarray, dtype) -> None:
    if not raw.all():
        bad = [place.names[i] for i in np.flatnonzero(~raw)]
        raise InputError(f"{folder}: NaN or infinite weights in {_listed(bad)}")
    if not cast.all():
        bad = [place.names[i] for i in np.flatnonzero(~cast)]
        raise InputError(
            f"{folder}: weights overflow {dtype.name} in {_listed(bad)}; use `dtype=float32` "
            "or bfloat16"
        )

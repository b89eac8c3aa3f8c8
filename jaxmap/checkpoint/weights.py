"""A checkpoint's files to a decoder's parameters, with everything accounted for.

Each parameter is filled once, each tensor of the checkpoint is claimed, each key of config.json
is read or known to be inert; what is left over is an error that names it.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from jaxmap.checkpoint.tensors import Stored, open_tensors
from jaxmap.errors import InputError
from jaxmap.model import decoder
from jaxmap.model.families import Family, family_of, spec_of
from jaxmap.model.families.config import Config, read_json
from jaxmap.model.families.rows import Row, place_of
from jaxmap.model.spec import Spec
from jaxmap.progress import progress

_SHOWN = 5  # names in an error
_BAR_BYTES = 1 << 30  # reading more than this shows a bar


@dataclasses.dataclass(frozen=True)
class Model:
    """A decoder in memory.

    Fields:
      spec: its architecture.
      graph, params: what `nnx.merge` makes a `Decoder` of; params are arrays of `dtype`.
      dtype: of weights and activations.
      stored_dtype: of most of the weights on disk.
      model_type: from config.json.
      num_parameters: numbers in the parameters.
      quantisation: of its linear layers; of work.QUANTISATIONS.
    """

    spec: Spec
    graph: nnx.GraphDef
    params: nnx.State
    dtype: str
    stored_dtype: str
    model_type: str
    num_parameters: int
    quantisation: str = "none"


def default_dtype(backend: str, stored: str) -> str:
    """What --dtype=auto means: float32 on CPU, as stored on GPU, bfloat16 on TPU."""
    return {"cpu": "float32", "tpu": "bfloat16"}.get(backend, stored)


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
) -> Model:
    """Loads a checkpoint folder onto the default device.

    Args:
      folder: holds config.json and the weights.
      dtype: of weights and activations: float32, bfloat16, float16, or auto (`default_dtype`).
      ignore_config_keys: keys of config.json declared without effect on the logits.

    Raises InputError for anything missing, left over, of the wrong shape, or not finite.
    """
    family, spec, model_type = read_config(folder, ignore_config_keys)
    with open_tensors(folder) as tensors:
        places, spec = _account(folder, family, spec, tensors)
        stored = _stored_dtype(folder, places, tensors)
        if dtype == "auto":
            dtype = default_dtype(jax.default_backend(), stored)
        graph, shapes = decoder.abstract(spec, jnp.dtype(dtype))
        leaves = decoder.named(shapes)
        arrays = _read(folder, places, tensors, {p: leaf.dtype for p, leaf in leaves.items()})
    params = decoder.from_named({p: leaf.replace(arrays[p]) for p, leaf in leaves.items()})
    count = sum(array.size for array in arrays.values())
    return Model(spec, graph, params, dtype, stored, model_type, count)


def _parameters(spec: Spec) -> dict[str, tuple[int, ...]]:
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
        floats = one.dtype is not None and other.dtype is not None
        same = floats and np.array_equal(one.read(), other.read())
        spec = dataclasses.replace(spec, tied=same)

    places = []
    for path, shape in _parameters(spec).items():
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
        want = place.row.stored_shape(place.item)
        for name in place.names:
            stored = tensors[name]
            if stored.shape != want:
                raise InputError(
                    f"{stored.file}: {name} has shape {list(stored.shape)}, "
                    f"but config.json makes it {list(want)}"
                )
            if stored.dtype is None:
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
        sizes[_held(tensors[name]).name] += int(np.prod(tensors[name].shape))
    return sizes.most_common(1)[0][0]


def _held(stored: Stored) -> np.dtype:
    """The dtype in which a tensor is taken up: float64 as float32, the widest here."""
    assert stored.dtype is not None
    return np.dtype(np.float32) if stored.dtype == np.float64 else stored.dtype


def _read(
    folder: Path,
    places: list[_Place],
    tensors: Mapping[str, Stored],
    dtypes: Mapping[str, np.dtype],
) -> dict[str, jax.Array]:
    """Reads every tensor once; layers are stacked on the host and converted on the device."""
    together: dict[tuple[str, ...], list[_Place]] = {}  # parts of one fused tensor
    for place in places:
        together.setdefault(place.names, []).append(place)
    total = sum(tensors[name].num_bytes for names in together for name in names)
    arrays: dict[str, jax.Array] = {}
    with progress(total, "load", "B", unit_scale=True, disable=total < _BAR_BYTES) as bar:
        for names, group in together.items():
            kind = jnp.result_type(*{_held(tensors[n]) for n in names})
            stacks = {p.path: np.empty((len(names), *p.item), kind) for p in group}
            for i, name in enumerate(names):
                stored = tensors[name].read()
                bar.update(stored.nbytes)
                with np.errstate(over="ignore"):  # what float32 cannot hold is found below
                    for place in group:
                        stacks[place.path][i] = place.row.read(stored, place.item)
            for place in group:
                stack, dtype = stacks.pop(place.path), dtypes[place.path]
                value, raw, cast = _convert(jax.device_put(stack), dtype)
                _check_finite(folder, place, np.asarray(raw), np.asarray(cast), dtype)
                arrays[place.path] = value.reshape(place.shape)
    return arrays


@partial(jax.jit, static_argnums=1)
def _convert(stack: jax.Array, dtype) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The stack in `dtype`, and whether each entry of its first axis is finite before and after."""
    value = stack.astype(dtype)
    rest = tuple(range(1, stack.ndim))
    return value, jnp.isfinite(stack).all(rest), jnp.isfinite(value).all(rest)


def _check_finite(folder: Path, place: _Place, raw: np.ndarray, cast: np.ndarray, dtype) -> None:
    if not raw.all():
        bad = [place.names[i] for i in np.flatnonzero(~raw)]
        raise InputError(f"{folder}: NaN or infinite weights in {_listed(bad)}")
    if not cast.all():
        bad = [place.names[i] for i in np.flatnonzero(~cast)]
        raise InputError(
            f"{folder}: weights overflow {dtype.name} in {_listed(bad)}; use --dtype=float32 "
            "or bfloat16"
        )

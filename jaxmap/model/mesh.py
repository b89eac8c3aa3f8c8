"""Many devices for one model: which part of a parameter lies on which.

A mesh has three axes. The rows of a batch are cut over "data" and "fsdp"; that part of the program
is manual: each piece runs the one-device program on its own rows and hears nothing of the others,
so a text's score cannot depend on them. The axes of parameters are cut by their letters: heads,
MLP width, vocabulary and experts over "model", where GSPMD divides the arithmetic; the width over
"fsdp", from which a layer's weights are gathered when the layer begins. A parameter that says no
letters is held whole by every device.

What "model" does not divide is padded with zeros that cannot reach a score (module `held`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
from flax import nnx
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxmap.errors import InputError
from jaxmap.model.spec import Spec

NAMES = ("data", "fsdp", "model")
ROWS = ("data", "fsdp")  # what cuts the rows of a batch

# The alphabet of `Spec`; x is experts held one behind the other, o a stored tensor's rows, of
# whatever they are.
_CUT = dict.fromkeys("hgfvxo", "model") | {"d": "fsdp"}


@dataclasses.dataclass(frozen=True)
class Axes:
    """How many devices each axis of a mesh has."""

    data: int = 1
    fsdp: int = 1
    model: int = 1

    @property
    def size(self) -> int:
        return self.data * self.fsdp * self.model

    @property
    def rows(self) -> int:
        """Pieces that the rows of a batch are cut into."""
        return self.data * self.fsdp

    def __str__(self) -> str:
        named = [f"{name}={getattr(self, name)}" for name in NAMES]
        return ",".join(part for part in named if not part.endswith("=1")) or "data=1"


def parse(text: str) -> Axes | None:
    """Axes from "data=4,model=2"; None from "auto". InputError for anything else."""
    if text == "auto":
        return None
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, _, size = (side.strip() for side in part.partition("="))
        if name not in NAMES or name in sizes or not size.isdecimal() or int(size) < 1:
            raise InputError(
                f"{part!r} is not understood; write auto, or devices per axis, as in "
                "data=4,model=2 (axes: data, fsdp, model)",
                field="mesh",
                value=text,
            )
        sizes[name] = int(size)
    return Axes(**sizes)


def make(axes: Axes, devices: Sequence[Any] | None = None) -> Mesh:
    """A mesh of these devices (by default all), or of the first so many of one process's.

    The devices may be those of a described topology. InputError when there are too few.
    """
    devices = list(jax.devices() if devices is None else devices)
    alone = len({device.process_index for device in devices}) == 1
    if axes.size > len(devices) or (axes.size < len(devices) and not alone):
        raise InputError(
            f"{axes.size} devices, but there are {len(devices)}"
            + ("" if alone else " in all processes together, each of which must be used"),
            field="mesh",
            value=axes,
        )
    shape = (axes.data, axes.fsdp, axes.model)
    kind = (AxisType.Auto,) * len(NAMES)
    return jax.make_mesh(shape, NAMES, axis_types=kind, devices=devices[: axes.size])


def axes_of(mesh: Mesh) -> Axes:
    return Axes(**{name: mesh.shape[name] for name in NAMES})


# Placing ---------------------------------------------------------------------------------------


def letters_of(leaf: nnx.Variable) -> str:
    """A letter an axis, a space where it has none (layers, and what does not say)."""
    letters = leaf.get_metadata().get("letters", "")
    return letters.rjust(len(leaf.shape)) if len(letters) <= len(leaf.shape) else ""


def partition(leaf: nnx.Variable, spec: Spec, axes: Axes) -> PartitionSpec:
    """How one parameter is cut: by letter, where the axis divides, each mesh axis once."""
    cut: list[str | None] = []
    for letter, size in zip(letters_of(leaf), leaf.shape, strict=False):
        axis = _CUT.get(letter)
        whole = axis is None or axis in cut or getattr(axes, axis) == 1
        if whole or size % getattr(axes, axis or "data") or (letter == "d" and size != spec.D):
            cut.append(None)
        else:
            cut.append(axis)
    return PartitionSpec(*cut)


def placed(params: nnx.State, spec: Spec, mesh: Mesh) -> nnx.State:
    """The sharding of each parameter, or of its shape: the same tree."""
    axes = axes_of(mesh)
    return _mapped(params, lambda leaf: NamedSharding(mesh, partition(leaf, spec, axes)))


def place(params: nnx.State, spec: Spec, mesh: Mesh) -> nnx.State:
    """The parameters where they belong; those that are there already are not copied."""
    return jax.device_put(params, placed(params, spec, mesh))


def structs(params: nnx.State, spec: Spec, mesh: Mesh) -> nnx.State:
    """Shapes with shardings, to compile for: nothing is allocated."""
    axes = axes_of(mesh)

    def struct(leaf: nnx.Variable) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(mesh, partition(leaf, spec, axes))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return _mapped(params, struct)


def manual(params: nnx.State, spec: Spec, axes: Axes) -> nnx.State:
    """`placed` as the manual part of the program sees it: what is cut over "model" stays whole."""

    def kept(leaf: nnx.Variable) -> PartitionSpec:
        cut = partition(leaf, spec, axes)
        return PartitionSpec(*(axis if axis in ROWS else None for axis in cut))

    return _mapped(params, kept)


def _mapped(params: nnx.State, change) -> nnx.State:
    def is_variable(leaf: Any) -> bool:
        return isinstance(leaf, nnx.Variable)

    return jax.tree.map(lambda leaf: leaf.replace(change(leaf)), params, is_leaf=is_variable)


def bytes_of(params: nnx.State, spec: Spec, axes: Axes) -> int:
    """Bytes of the parameters that one device holds."""
    total = 0
    for _, leaf in nnx.to_flat_state(params):
        cut = [getattr(axes, axis) for axis in partition(leaf, spec, axes) if axis]
        total += math.prod(leaf.shape) * leaf.dtype.itemsize // math.prod(cut)
    return total


# Inside the program ----------------------------------------------------------------------------


def _devices(name: str) -> int:
    mesh = jax.sharding.get_abstract_mesh()
    return 1 if mesh.empty else mesh.shape[name]


def model_devices() -> int:
    """Over how many devices the program that is being traced cuts heads, widths and the like."""
    return _devices("model")


def laid_out(kernel: jax.Array, letters: str) -> jax.Array:
    """A kernel made inside the program, cut over "model" as a parameter of these letters is."""
    pieces, cut = model_devices(), list[str | None]()
    for letter, size in zip(letters, kernel.shape, strict=True):
        own = _CUT.get(letter) == "model" and "model" not in cut and size % pieces == 0
        cut.append("model" if own else None)
    if pieces == 1:
        return kernel
    return jax.lax.with_sharding_constraint(kernel, PartitionSpec(*cut))


def gathered_ends(params: nnx.State, spec: Spec) -> nnx.State:
    """`gathered`, but the blocks, whose time comes with their layer."""
    if _devices("fsdp") == 1:
        return params
    ends: dict[tuple, nnx.Variable] = {}
    blocks: dict[tuple, nnx.Variable] = {}
    for path, leaf in nnx.to_flat_state(params):
        (blocks if path[0] == "blocks" else ends)[path] = leaf
    whole = dict(nnx.to_flat_state(gathered(nnx.from_flat_state(ends), spec)))
    return nnx.from_flat_state({**blocks, **whole})


def gathered(weights: nnx.State, spec: Spec) -> nnx.State:
    """Parameters with their width whole again, where "fsdp" cuts it."""
    pieces = _devices("fsdp")
    if pieces == 1 or spec.D % pieces:
        return weights

    axes = Axes(model=model_devices())

    def whole(leaf: nnx.Variable) -> jax.Array:
        value = leaf[...]
        axis = letters_of(leaf).find("d")
        if axis < 0 or value.shape[axis] != spec.D // pieces:
            return value
        # Left to GSPMD, what is cut over "model" would be made whole as well.
        cut = partition(leaf, spec, axes)
        return jax.shard_map(
            lambda value: jax.lax.all_gather(value, "fsdp", axis=axis, tiled=True),
            in_specs=cut,
            out_specs=cut,
            axis_names={"model"},
            check_vma=False,
        )(value)

    return _mapped(weights, whole)

"""Many devices for one model: how parameters and batches are divided among them.

A mesh has three axes. The rows of a batch are divided over "data" and "fsdp". This part of the
program is manual (`shard_map`): each device runs the one-device program on its own rows without
communication, so a text's score cannot depend on the other rows. The axes of parameters are
divided by their letters: heads, MLP width, vocabulary and experts over "model", where GSPMD
divides the arithmetic; the model's width over "fsdp", from which a layer's weights are gathered
when the layer begins. Every device has a full copy of parameters without letters.

Axes whose length is not a multiple of "model" are padded with zeros, which cannot change a score
(module `padding`).
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
ROWS = ("data", "fsdp")  # the mesh axes over which the rows of a batch are divided

# The mesh axis of each letter. The letters are those of `Spec`, and two more: x is a stack of
# experts, o the rows of a stored tensor, whatever they stand for.
_CUT = dict.fromkeys("hgfvxo", "model") | {"d": "fsdp"}


@dataclasses.dataclass(frozen=True)
class Axes:
    """The number of devices along each axis of a mesh."""

    data: int = 1
    fsdp: int = 1
    model: int = 1

    @property
    def size(self) -> int:
        """The number of devices."""
        return self.data * self.fsdp * self.model

    @property
    def rows(self) -> int:
        """The number of parts into which the rows of a batch are divided."""
        return self.data * self.fsdp

    def __str__(self) -> str:
        named = [f"{name}={getattr(self, name)}" for name in NAMES]
        return ",".join(part for part in named if not part.endswith("=1")) or "data=1"


def parse(text: str) -> Axes | None:
    """The axes that `text` gives, "data=4,model=2"; None for "auto". Else raises InputError."""
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
    """A mesh of `axes.size` of the devices.

    With one process, the first devices are used; with several, all must be used.

    Args:
      axes: the number of devices along each axis.
      devices: by default all of `jax.devices()`; also devices of a described topology.

    Raises:
      InputError: when there are too few devices.
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
    """The sizes of a mesh's axes."""
    return Axes(**{name: mesh.shape[name] for name in NAMES})


# Placing ---------------------------------------------------------------------------------------


def letters_of(leaf: nnx.Variable) -> str:
    """One letter per axis; a space for axes without a letter, such as layers."""
    letters = leaf.get_metadata().get("letters", "")
    return letters.rjust(len(leaf.shape)) if len(letters) <= len(leaf.shape) else ""


def partition(leaf: nnx.Variable, spec: Spec, axes: Axes) -> PartitionSpec:
    """The partition of one parameter: by letter, if the mesh axis divides the length.

    Each mesh axis is used at most once.
    """
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
    """The sharding of each parameter (an array or its shape), as a tree like `params`."""
    axes = axes_of(mesh)
    return _mapped(params, lambda leaf: NamedSharding(mesh, partition(leaf, spec, axes)))


def place(params: nnx.State, spec: Spec, mesh: Mesh) -> nnx.State:
    """The parameters, moved to the devices of the mesh; those already in place are not copied."""
    return jax.device_put(params, placed(params, spec, mesh))


def structs(params: nnx.State, spec: Spec, mesh: Mesh) -> nnx.State:
    """The parameters' shapes with their shardings, to compile for without allocating."""
    axes = axes_of(mesh)

    def struct(leaf: nnx.Variable) -> jax.ShapeDtypeStruct:
        sharding = NamedSharding(mesh, partition(leaf, spec, axes))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    return _mapped(params, struct)


def manual(params: nnx.State, spec: Spec, axes: Axes) -> nnx.State:
    """The partitions for the manual part of the program, which does not divide over "model"."""

    def kept(leaf: nnx.Variable) -> PartitionSpec:
        cut = partition(leaf, spec, axes)
        return PartitionSpec(*(axis if axis in ROWS else None for axis in cut))

    return _mapped(params, kept)


def _mapped(params: nnx.State, change) -> nnx.State:
    def is_variable(leaf: Any) -> bool:
        return isinstance(leaf, nnx.Variable)

    return jax.tree.map(lambda leaf: leaf.replace(change(leaf)), params, is_leaf=is_variable)


def bytes_of(params: nnx.State, spec: Spec, axes: Axes) -> int:
    """The bytes of parameters on one device."""
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
    """The size of the mesh axis "model" in the program that is being traced; 1 without a mesh."""
    return _devices("model")


def laid_out(kernel: jax.Array, letters: str) -> jax.Array:
    """A kernel computed inside the program, divided over "model" like a parameter's letters say."""
    pieces, cut = model_devices(), list[str | None]()
    for letter, size in zip(letters, kernel.shape, strict=True):
        own = _CUT.get(letter) == "model" and "model" not in cut and size % pieces == 0
        cut.append("model" if own else None)
    if pieces == 1:
        return kernel
    return jax.lax.with_sharding_constraint(kernel, PartitionSpec(*cut))


def gathered_ends(params: nnx.State, spec: Spec) -> nnx.State:
    """`gathered` for all parameters but the blocks, which are gathered layer by layer."""
    if _devices("fsdp") == 1:
        return params
    ends: dict[tuple, nnx.Variable] = {}
    blocks: dict[tuple, nnx.Variable] = {}
    for path, leaf in nnx.to_flat_state(params):
        (blocks if path[0] == "blocks" else ends)[path] = leaf
    whole = dict(nnx.to_flat_state(gathered(nnx.from_flat_state(ends), spec)))
    return nnx.from_flat_state({**blocks, **whole})


def gathered(weights: nnx.State, spec: Spec) -> nnx.State:
    """Parameters whose width, divided over "fsdp", is gathered from all devices."""
    pieces = _devices("fsdp")
    if pieces == 1 or spec.D % pieces:
        return weights

    axes = Axes(model=model_devices())

    def whole(leaf: nnx.Variable) -> jax.Array:
        value = leaf[...]
        axis = letters_of(leaf).find("d")
        if axis < 0 or value.shape[axis] != spec.D // pieces:
            return value
        # Left to itself, GSPMD would gather the axes that are divided over "model" as well.
        cut = partition(leaf, spec, axes)
        return jax.shard_map(
            lambda value: jax.lax.all_gather(value, "fsdp", axis=axis, tiled=True),
            in_specs=cut,
            out_specs=cut,
            axis_names={"model"},
            check_vma=False,
        )(value)

    return _mapped(weights, whole)

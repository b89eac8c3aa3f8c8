"""A decoder whose linear layers stay in the codes of the file, and how these are read.

Where all tensors of a layer's kernel, in every layer of a stack, are matrices in codes of one
meaning, the layer is replaced by one that holds the codes. Other parameters are floats as ever.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from jaxmap.checkpoint.coded_layers import (
    EXPERTS,
    CodedLayer,
    Group,
    common_meaning,
    replace_experts,
    replace_linears,
)
from jaxmap.checkpoint.formats.base import Stored
from jaxmap.checkpoint.host_memory import own_pages
from jaxmap.errors import InputError
from jaxmap.model import decoder
from jaxmap.model.layers.linear import Linear
from jaxmap.model.mesh import axes_of, partition
from jaxmap.model.mlps.experts import RoutedExperts
from jaxmap.model.spec import Spec
from jaxmap.model.sublayers import quantisable


@dataclasses.dataclass(frozen=True)
class CodedDecoder:
    """The structure of a decoder with layers in codes.

    Fields:
      graph, leaves: as of a decoder of floats, by path; shapes stand for arrays.
      layers: (path of the module, the layer) of all that is in codes.
      names: the stored tensors that stay in codes.
    """

    graph: nnx.GraphDef
    leaves: dict[str, nnx.Variable]
    layers: tuple[tuple[str, CodedLayer], ...]
    names: frozenset[str]

    def read(self, tensors: Mapping[str, Stored], mesh: Mesh | None, spec: Spec) -> dict[str, Any]:
        """The arrays of the layers in codes, by path; `spec` is the padded one.

        Raises InputError for scales and codes that are not finite.
        """
        found: dict[str, Any] = {}
        by_names: dict[tuple[str, ...], list[tuple[str, CodedLayer]]] = {}
        for path, layer in self.layers:
            by_names.setdefault(layer.names, []).append((path, layer))
        for names, layers in by_names.items():
            whole: dict[str, np.ndarray] = {}
            for i, name in enumerate(names):
                coded = tensors[name].codes
                assert coded is not None
                arrays = coded.read()
                _check_finite(arrays, name, tensors[name])
                for path, layer in layers:
                    for attribute, value in layer.arrays(arrays).items():
                        key = f"{path}/{attribute}"
                        if key not in whole:
                            shape = (*layer.lead, *value.shape)
                            whole[key] = own_pages(shape, value.dtype)
                        flat = whole[key].reshape(len(names), *value.shape)
                        flat[i] = value
            for key in list(whole):
                found[key] = _placed(whole.pop(key), self.leaves[key], mesh, spec)
        return found


def coded_decoder(
    spec: Spec, padded: Spec, dtype: Any, groups: Sequence[Group], tensors: Mapping[str, Stored]
) -> CodedDecoder | None:
    """A decoder with every layer in codes that can be; None if none can.

    Args:
      spec, padded: the checkpoint's spec, and the spec padded for a mesh (`padding.padded_spec`).
      dtype: the dtype of activations.
      groups: the stored tensors with the parameters that they fill.
      tensors: the tensors of the files, by name.
    """
    if not any(tensors[name].codes for names, _ in groups for name in names):
        return None
    whole = nnx.merge(*decoder.abstract(padded, dtype))
    modules = {"/".join(map(str, path)): module for path, module in nnx.iter_modules(whole)}
    layers: list[CodedLayer] = []
    experts: dict[str, dict[str, Group]] = {}
    for group in groups:
        meaning = common_meaning(group, tensors)
        where = [assignment.path.removesuffix("/kernel") for assignment in group[1]]
        linears = [modules.get(path) for path in where]
        if meaning is None or not all(isinstance(one, Linear) for one in linears):
            continue
        owner, _, attribute = where[0].rpartition("/")
        if isinstance(modules[owner], RoutedExperts) and attribute in EXPERTS:
            experts.setdefault(owner, {})[attribute] = group
        elif not isinstance(modules[owner], RoutedExperts) and _may(where[0], spec):
            coded = tensors[group[0][0]].codes
            assert coded is not None
            layers += replace_linears(group, meaning, coded.transposed, modules, (spec, padded))
    for owner, parts in experts.items():
        layers += replace_experts(modules[owner], parts, tensors)
    if not layers:
        return None
    graph, state = nnx.split(whole)
    path_of = {id(module): "/".join(map(str, path)) for path, module in nnx.iter_modules(whole)}
    return CodedDecoder(
        graph,
        decoder.named(state),
        tuple((path_of[id(layer.module)], layer) for layer in layers),
        frozenset(name for layer in layers for name in layer.names),
    )


def _may(path: str, spec: Spec) -> bool:
    """Whether the layer of a linear layer computes with weights in codes."""
    parts = path.split("/")
    if parts[0] != "blocks":
        return False
    kind, _, _ = list(spec.stacks())[int(parts[1])]
    return quantisable(kind.mixer) and quantisable(kind.mlp)


def _check_finite(arrays: Mapping[str, np.ndarray], name: str, stored: Stored) -> None:
    for part, array in arrays.items():
        floats = array.dtype.kind not in "iu"
        if floats and not np.isfinite(array.astype(np.float32)).all():
            raise InputError(f"{stored.file.parent}: NaN or infinite weights in {name} ({part})")


def _placed(array: np.ndarray, leaf: nnx.Variable, mesh: Mesh | None, spec: Spec) -> jax.Array:
    if mesh is None:
        return jax.device_put(array)
    sharding = NamedSharding(mesh, partition(leaf, spec, axes_of(mesh)))
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

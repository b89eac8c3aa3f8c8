"""The weights of a checkpoint one layer at a time, for a model that is larger than memory."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from flax import nnx

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.account import Assignment
from jaxmap.checkpoint.open_checkpoint import Opened, leaves_of
from jaxmap.model import decoder

_BLOCKS = "blocks/"  # how the path of a layer's parameter begins


class LayerWeights:
    """Reads parameters of a decoder of floats; those that are not read are arrays of no entries.

    Args:
      found: the open checkpoint.
      dtype: the precision, a key of PRECISIONS.

    Fields:
      graph: the structure, to be merged with what is read.
    """

    def __init__(self, found: Opened, dtype: str):
        self._found, self._dtype = found, dtype
        self.graph, self._leaves = leaves_of(found.spec, dtype)
        self._stacks = list(found.spec.stacks())

    def ends(self) -> nnx.State:
        """The embedding, the final norm, the head and what else no layer has."""
        assignments = [one for one in self._found.assignments if not one.path.startswith(_BLOCKS)]
        return self._state(weights.read_assignments(self._found, assignments, self._dtype))

    def stack_of(self, layer: int) -> int:
        """The stack that `of_layer` fills: the first one whose layers are of the same kind."""
        kind = next(kind for kind, start, stop in self._stacks if start <= layer < stop)
        return next(i for i, (other, _, _) in enumerate(self._stacks) if other == kind)

    def of_layer(self, layer: int) -> nnx.State:
        """The parameters of one layer, each with a leading axis of 1.

        Where layers share blocks, what no layer has is among them.
        """
        at = next(i for i, (_, start, stop) in enumerate(self._stacks) if start <= layer < stop)
        _, start, stop = self._stacks[at]
        own, to = f"{_BLOCKS}{at}/", f"{_BLOCKS}{self.stack_of(layer)}/"
        assignments = [
            _layer(one, layer - start, stop - start)
            for one in self._found.assignments
            if one.path.startswith(own)
        ]
        arrays = weights.read_assignments(self._found, assignments, self._dtype)
        found = {to + path.removeprefix(own): x for path, x in arrays.items()}
        if self._found.spec.shared is not None:
            outside = [one for one in self._found.assignments if not one.path.startswith(_BLOCKS)]
            found |= weights.read_assignments(self._found, outside, self._dtype)
        return self._state(found)

    def _state(self, arrays: Mapping[str, jax.Array]) -> nnx.State:
        return decoder.from_named(
            {
                path: leaf.replace(arrays[path] if path in arrays else jnp.zeros(0, leaf.dtype))
                for path, leaf in self._leaves.items()
            }
        )


def _layer(assignment: Assignment, number: int, count: int) -> Assignment:
    """One of the layers of a stacked parameter."""
    each = len(assignment.names) // count  # tensors of a layer: one, or one per expert
    names = assignment.names[number * each : (number + 1) * each]
    return dataclasses.replace(assignment, names=names, shape=(1, *assignment.shape[1:]))


def num_bytes(found: Opened, dtype: str) -> int:
    """The bytes of all weights in memory.

    Args:
      found: the open checkpoint.
      dtype: the precision, a key of PRECISIONS.
    """
    kinds = found.dtypes(dtype)
    return sum(math.prod(one.shape) * kinds[one.path].itemsize for one in found.assignments)

"""An axis of a parameter that is padded with zeros so that the devices of a mesh divide it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxmap.model.spec import Spec


class Extent(NamedTuple):
    """An axis of `groups` x `each` entries held as one of `held_groups` x `held_each`.

    The entries beyond are zeros, those of a group at its end.
    """

    groups: int
    each: int
    held_groups: int
    held_each: int

    @property
    def held(self) -> int:
        """Entries, zeros included."""
        return self.held_groups * self.held_each

    def pad(self, x: Any, axis: int) -> Any:
        """An array of NumPy or JAX with the zeros in."""
        if self[:2] == self[2:]:
            return x
        xp, rest = x.__array_namespace__(), x.shape[axis + 1 :]
        x = x.reshape(*x.shape[:axis], self.groups, self.each, *rest)
        more = [(0, 0)] * x.ndim
        more[axis] = (0, self.held_groups - self.groups)
        more[axis + 1] = (0, self.held_each - self.each)
        return _pad(xp, x, more).reshape(*x.shape[:axis], -1, *rest)

    def trim(self, x: Any, axis: int) -> Any:
        """An array without the zeros."""
        if self[:2] == self[2:]:
            return x
        before, rest = x.shape[:axis], x.shape[axis + 1 :]
        x = x.reshape(*before, self.held_groups, self.held_each, *rest)
        index = (slice(None),) * axis + (slice(self.groups), slice(self.each))
        return x[index].reshape(*before, -1, *rest)

    @property
    def origins(self) -> np.ndarray:
        """Which entry each held one is, int; -1: a zero."""
        return self.pad(1 + np.arange(self.groups * self.each), 0) - 1


def _pad(xp: Any, x: Any, more: list[tuple[int, int]]) -> Any:
    if xp is np:
        return np.pad(x, more)
    import jax.numpy as jnp

    return jnp.pad(x, more)


def extent(letter: str, size: int, held_size: int, spec: Spec, held_spec: Spec) -> Extent:
    """How an axis is held.

    Args:
      letter: of the axis.
      size, held_size: in the checkpoint's parameter, and in the one that is held.
      spec, held_spec: of the checkpoint, and what `held` makes of it.
    """
    if letter == "h" and size != held_size:
        G, held_G = spec.G, held_spec.G
        return Extent(G, spec.H // G, held_G, held_spec.H // held_G)
    assert size <= held_size, f"{size} entries do not fit into {held_size}"
    return Extent(1, size, 1, held_size)

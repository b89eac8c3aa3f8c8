"""An axis of a parameter that is padded with zeros so that the devices of a mesh divide it."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jaxmap.model.spec import Spec


class PaddedAxis(NamedTuple):
    """An axis of `groups` x `each` entries, padded to `padded_groups` x `padded_each`.

    Zeros are added at the end of each group, and whole groups of zeros at the end of the axis.
    """

    groups: int
    each: int
    padded_groups: int
    padded_each: int

    @property
    def padded(self) -> int:
        """The number of entries with the zeros."""
        return self.padded_groups * self.padded_each

    def pad(self, x: Any, axis: int) -> Any:
        """The NumPy or JAX array `x` with zeros added on `axis`."""
        if self[:2] == self[2:]:
            return x
        xp, rest = x.__array_namespace__(), x.shape[axis + 1 :]
        x = x.reshape(*x.shape[:axis], self.groups, self.each, *rest)
        more = [(0, 0)] * x.ndim
        more[axis] = (0, self.padded_groups - self.groups)
        more[axis + 1] = (0, self.padded_each - self.each)
        return _pad(xp, x, more).reshape(*x.shape[:axis], -1, *rest)

    def trim(self, x: Any, axis: int) -> Any:
        """The NumPy or JAX array `x` without the zeros on `axis`: the inverse of `pad`."""
        if self[:2] == self[2:]:
            return x
        before, rest = x.shape[:axis], x.shape[axis + 1 :]
        x = x.reshape(*before, self.padded_groups, self.padded_each, *rest)
        index = (slice(None),) * axis + (slice(self.groups), slice(self.each))
        return x[index].reshape(*before, -1, *rest)

    @property
    def origins(self) -> np.ndarray:
        """The index before padding of each padded entry, int [padded]; -1 for a zero."""
        return self.pad(1 + np.arange(self.groups * self.each), 0) - 1


def _pad(xp: Any, x: Any, more: list[tuple[int, int]]) -> Any:
    if xp is np:
        return np.pad(x, more)
    import jax.numpy as jnp

    return jnp.pad(x, more)


def padded_axis(
    letter: str, size: int, padded_size: int, spec: Spec, padded_spec: Spec
) -> PaddedAxis:
    """How one axis of a parameter is padded.

    Args:
      letter: the axis's letter in the alphabet of `spec`.
      size, padded_size: its length in the checkpoint and on the devices.
      spec, padded_spec: the checkpoint's spec, and the result of `padding.padded_spec` for it.
    """
    if letter == "h" and size != padded_size:
        G, padded_G = spec.G, padded_spec.G
        return PaddedAxis(G, spec.H // G, padded_G, padded_spec.H // padded_G)
    assert size <= padded_size, f"{size} entries do not fit into {padded_size}"
    return PaddedAxis(1, size, 1, padded_size)

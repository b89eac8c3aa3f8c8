"""What a mesh holds where its "model" axis does not divide: zeros that cannot reach a score."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from jaxmap.model.mechanisms import Alibi
from jaxmap.model.mesh import Axes
from jaxmap.model.spec import Spec

# Layers that zeros beside their heads, or in their MLP's width, leave as they are.
_PADS_HEADS, _PADS_WIDTH = ({"attention"}, {"latent"}), {"dense", "experts"}


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def held(spec: Spec, axes: Axes) -> Spec:
    """The spec of what the devices hold: one with zeros where "model" does not divide.

    - vocabulary: rows at the end, which the readout leaves out;
    - key/value heads: whole groups, or, where the axis is a multiple of them, heads in every
      group, whichever makes fewer; their part of the output projection is zero;
    - MLP width, which the way down multiplies with zero; experts, which no token chooses.
    A device never holds or computes more for it than it would of the whole. Heads are not padded
    where a norm goes over all of them together, where layers differ in theirs, and beside mixers
    other than attention; the width not beside other MLPs: these are whole on every device.
    """
    m = axes.model
    if m == 1:
        return spec
    changes: dict[str, Any] = {}
    if spec.V % m:
        changes["held_V"] = _up(spec.V, m)
    kinds = [kind for kind, _, _ in spec.stacks()]
    mixers = {kind.mixer for kind in kinds} - {"none"}
    over_all = spec.qk_norm is not None and spec.qk_norm.over == "all"
    if mixers in _PADS_HEADS and not over_all and not any(kind.G for kind in kinds):
        H, G = _heads(spec, m)
        if (H, G) != (spec.H, spec.G):
            changes |= dict(H=H, G=G)
            if spec.alibi is not None:
                slopes = Extent(spec.G, spec.H // spec.G, G, H // G).pad(
                    np.asarray(spec.alibi.slopes), 0
                )
                changes["alibi"] = Alibi(tuple(slopes.tolist()), spec.alibi.rounded)
    if {kind.mlp for kind in kinds} <= {*_PADS_WIDTH, "none"}:
        wide: dict[str, Any] = {
            "F": _up(spec.F, m),
            "kinds": tuple(dataclasses.replace(k, F=k.F and _up(k.F, m)) for k in spec.kinds),
        }
        # Two widths that become one would join stacks that stand apart.
        if len(list(dataclasses.replace(spec, **wide).stacks())) == len(kinds):
            changes |= wide
    if spec.experts is not None:
        e = spec.experts
        changes["experts"] = dataclasses.replace(
            e, held_E=_up(e.E, m), shared_F=e.shared_F and _up(e.shared_F, m)
        )
    return dataclasses.replace(spec, **changes)


def _heads(spec: Spec, m: int) -> tuple[int, int]:
    """Query and key/value heads, the fewest that m devices share with whole groups on each, or
    with each group on as many devices."""
    if any(kind.mixer == "latent" for kind, _, _ in spec.stacks()):
        H = _up(spec.H, m)
        return (H, H) if spec.G == spec.H else (spec.H, spec.G)
    own = spec.H // spec.G
    choices = [(_up(spec.G, m) * own, _up(spec.G, m))]
    if m % spec.G == 0:
        choices.append((spec.G * _up(own, m // spec.G), spec.G))
    return min(choices)


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

"""What a mesh holds where its "model" axis does not divide: zeros that cannot reach a score."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxmap.model.decoder import MIXERS, MLPS
from jaxmap.model.extent import Extent
from jaxmap.model.mechanisms import Alibi
from jaxmap.model.mesh import Axes
from jaxmap.model.spec import Spec


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
    can_pad = len(mixers) == 1 and all(MIXERS[mixer].pads_heads for mixer in mixers)
    if can_pad and not over_all and not any(kind.G for kind in kinds):
        H, G = _heads(spec, m)
        if (H, G) != (spec.H, spec.G):
            changes |= dict(H=H, G=G)
            if spec.alibi is not None:
                slopes = Extent(spec.G, spec.H // spec.G, G, H // G).pad(
                    np.asarray(spec.alibi.slopes), 0
                )
                changes["alibi"] = Alibi(tuple(slopes.tolist()), spec.alibi.rounded)
    if all(MLPS[kind.mlp].pads_width for kind in kinds if kind.mlp != "none"):
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

"""Pads a model with zeros so that its axes divide evenly among devices; no score changes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from jaxmap.model.attention_facts import Alibi
from jaxmap.model.mesh import Axes
from jaxmap.model.padded_axis import PaddedAxis
from jaxmap.model.spec import Spec
from jaxmap.model.sublayers import MIXERS, MLPS


def _up(n: int, multiple: int) -> int:
    return -(-n // multiple) * multiple


def padded_spec(spec: Spec, axes: Axes) -> Spec:
    """The spec of the padded model, whose axes are multiples of the mesh axis "model".

    These are padded with zeros:
    - the vocabulary, by rows at the end, which the readout leaves out;
    - heads, either by whole groups of one key/value head and its query heads or, if the mesh axis
      is a multiple of the number of groups, by query heads in every group, whichever adds fewer;
      their rows of the output projection are zero;
    - the width of MLPs, whose padding the down projection multiplies by zero;
    - experts, whose padding no token chooses.

    Padding never makes a device store or compute more than the undivided axis would. Heads are
    not padded if a norm or a bias (`Spec.value_bias`) covers all of them together, if layers differ
    in their number, or if a mixer does not support it (`Sublayer.pads_heads`); likewise the width
    (`pads_width`) and under a norm of its own, or a cutoff that depends on all channels. Every
    device then has the whole axis.
    """
    m = axes.model
    if m == 1:
        return spec
    changes: dict[str, Any] = {}
    if spec.V % m:
        changes["padded_V"] = _up(spec.V, m)
    kinds = [kind for kind, _, _ in spec.stacks()]
    mixers = {kind.mixer for kind in kinds} - {"none"}
    over_all = (
        spec.mixed_norm
        or spec.value_bias
        or (spec.qk_norm is not None and spec.qk_norm.over == "all")
    )
    can_pad = len(mixers) == 1 and all(MIXERS[mixer].pads_heads for mixer in mixers)
    if can_pad and not over_all and not any(kind.G or kind.H for kind in kinds):
        H, G = _heads(spec, m)
        if (H, G) != (spec.H, spec.G):
            changes |= dict(H=H, G=G)
            if spec.alibi is not None:
                slopes = PaddedAxis(spec.G, spec.H // spec.G, G, H // G).pad(
                    np.asarray(spec.alibi.slopes), 0
                )
                changes["alibi"] = Alibi(tuple(slopes.tolist()), spec.alibi.rounded)
    pads_width = all(MLPS[kind.mlp].pads_width for kind in kinds if kind.mlp != "none")
    if pads_width and not spec.inner_norm and not spec.cutoff:
        wide: dict[str, Any] = {
            "F": _up(spec.F, m),
            "kinds": tuple(dataclasses.replace(k, F=k.F and _up(k.F, m)) for k in spec.kinds),
        }
        # If two widths became equal, two separate stacks of layers would become one.
        if len(list(dataclasses.replace(spec, **wide).stacks())) == len(kinds):
            changes |= wide
    if spec.experts is not None:
        e = spec.experts
        changes["experts"] = dataclasses.replace(
            e, padded_E=_up(e.E, m), shared_F=e.shared_F and _up(e.shared_F, m)
        )
    return dataclasses.replace(spec, **changes)


def _heads(spec: Spec, m: int) -> tuple[int, int]:
    """The smallest numbers of query and key/value heads that m devices can divide evenly.

    Each device has whole groups, or each group is on the same number of devices.
    """
    if any(kind.mixer == "latent" for kind, _, _ in spec.stacks()):
        H = _up(spec.H, m)
        return (H, H) if spec.G == spec.H else (spec.H, spec.G)
    own = spec.H // spec.G
    choices = [(_up(spec.G, m) * own, _up(spec.G, m))]
    if m % spec.G == 0:
        choices.append((spec.G * _up(own, m // spec.G), spec.G))
    return min(choices)

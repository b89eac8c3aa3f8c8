"""What may differ from layer to layer of a decoder.

The letters are defined in `spec`.
"""

from __future__ import annotations

import dataclasses

from jaxmap.model.expert_facts import ClampedSwiglu


@dataclasses.dataclass(frozen=True)
class ResidualFactors:
    """Factors in the sums of the residual stream and a branch's output; see `Block`.

    Fields:
      mixer_stream, mixer: on the stream and on the mixer's output, which are added.
      mlp_stream, mlp: on the stream and on the MLP's output.
    """

    mixer_stream: float = 1.0
    mixer: float = 1.0
    mlp_stream: float = 1.0
    mlp: float = 1.0


@dataclasses.dataclass(frozen=True)
class Kind:
    """The kind of a layer. Neighbouring layers of one kind are stacked and scanned together.

    Fields:
      mixer: a key of sublayers.MIXERS, or "none".
      mlp: a key of sublayers.MLPS, or "none".
      H, G, C, F: query heads, key/value heads, channels per head and MLP width if they differ from
        the Spec's; 0: the Spec's.
      turned: the channels of a head that the layers' rope turns, where ropes differ in it; 0: all
        of a head's, or as many as every rope of the Spec turns.
      stack: set for layers that run several times: all runs with one name use the same weights.
      turn: which run it is, from 0.
      reads_router: whether the router reads the state of the layer before (`Experts.router_width`).
      bare: norm slots of the Spec that these layers lack.
      ungated: norm slots without the gate of the Spec's norms.
      out_bias: whether attention's last projection has a bias though the Spec's has none.
      sinks: whether attention has sinks, where the Spec has them.
      residual: factors in the sums of the residual stream.
      glu, expert_glu: the gated activation of dense and shared MLPs and of experts, where it is not
        that of the Spec and of its Experts.
      shared: the number of the layer among those with a shared block (`Spec.shared`), from 0.
      keeps: the name under which later layers find the keys and values of the last of these layers;
        "": none look for them.
      reads: the name of the keys and values that these layers use instead of their own; "": own.
      ngrams: the number of its entry in `Spec.ngrams`, from 1; 0: none.
      tied_values: whether values are the projected keys, before their norm and rotation.
    """

    mixer: str = "attention"
    mlp: str = "dense"
    H: int = 0
    G: int = 0
    C: int = 0
    F: int = 0
    bare: frozenset[str] = frozenset()
    ungated: frozenset[str] = frozenset()
    out_bias: bool = False
    sinks: bool = True
    residual: ResidualFactors = ResidualFactors()
    glu: ClampedSwiglu | None = None
    expert_glu: ClampedSwiglu | None = None
    shared: int = 0
    keeps: str = ""
    reads: str = ""
    ngrams: int = 0
    tied_values: bool = False
    turned: int = 0
    stack: str = ""
    turn: int = 0
    reads_router: bool = False

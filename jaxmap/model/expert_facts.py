"""Facts of a mixture of experts, for a Spec. The letters are defined in `spec`."""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class ClampedSwiglu:
    """A gated activation with bounds: h sigmoid(alpha h) (clip(u, ±limit) + added).

    h is min(g, limit), g the gate's output and u the output of the up projection. gpt-oss adds 1;
    with alpha = 1 and nothing added it is SwiGLU between bounds. With `after`, the bound is on the
    activation of the gate: min(g sigmoid(alpha g), limit) (clip(u, ±limit) + added).
    """

    alpha: float
    limit: float
    added: float = 1.0
    after: bool = False

    def __post_init__(self):
        if not self.limit > 0:
            raise ValueError(f"a bound of {self.limit} on an activation, which must be above 0")


@dataclasses.dataclass(frozen=True)
class Experts:
    """A mixture of E MLPs ("experts"); a router chooses k of them for each token.

    Fields:
      E, k, F: the number of experts, the number chosen for each token, the width of an expert.
      score: a key of experts.SCORES, the function from the router's logits to weights.
      renorm: whether the chosen weights are divided by the larger of their sum and `least`.
      least: see `renorm`.
      added: to the sum that `renorm` divides by.
      scale_inputs: whether a weight scales what its expert reads, instead of its output.
      jitter: the relative distance from the best logit within which other experts share the weight
        with the best ("sparsemixer").
      scale: a last factor on the weights.
      softcap: the router's logits become softcap tanh(logit / softcap); 0: they stay as they are.
      groups: the number of groups of neighbouring experts, all of one size; 1: no groups.
      groups_kept: how many groups experts are chosen from, those with the best `group_score`.
      group_score: the score of a group: that of its best expert ("max"), or the sum of its best two
        ("top2").
      left_out: the score of experts in groups that are not kept.
      correction: whether a stored number per expert is added to the scores, for choosing only.
      factors: whether the weight of an expert is multiplied by a stored number of that expert.
      router_bias, bias: whether the router and the experts have biases.
      bias_D: whether a bias is added to the experts' weighted sum.
      glu: set if the gated activation is not act(gate) * up.
      gated, act: as in `Spec`, for the experts; "" for `act` stands for the Spec's.
      shared_F: the width of an MLP that is applied to every token as well; 0: none.
      shared_gate: whether the shared MLP's output is scaled by the sigmoid of a learned projection.
      mean_with_shared: whether the layer gives the mean of the experts' and the shared MLP's
        outputs instead of their sum.
      on_shared: whether the experts read the shared MLP's output instead of the block's input.
      identities: the number of further experts that the router chooses among, after the E: each
        gives its input back.
      skips: the number of further experts that the router chooses among, after all others: each
        gives zeros.
      router_width: the width of the router's state, see `router_mlp.RouterMlp`; 0: the router is
        one linear layer.
      padded_E: the number of experts in the arrays; those from E on are zeros and are never chosen;
        0: E.
    """

    E: int
    k: int
    F: int
    score: str = "softmax"
    renorm: bool = False
    least: float = 0.0
    added: float = 0.0
    scale_inputs: bool = False
    jitter: float = 0.0
    scale: float = 1.0
    softcap: float = 0.0
    groups: int = 1
    groups_kept: int = 1
    group_score: str = "max"
    left_out: float = -math.inf
    correction: bool = False
    factors: bool = False
    router_bias: bool = False
    bias: bool = False
    bias_D: bool = False
    glu: ClampedSwiglu | None = None
    gated: bool = True
    act: str = ""
    shared_F: int = 0
    shared_gate: bool = False
    mean_with_shared: bool = False
    on_shared: bool = False
    identities: int = 0
    skips: int = 0
    router_width: int = 0
    padded_E: int = 0

    @property
    def routes(self) -> int:
        """The number of experts that the router chooses among."""
        return self.E + self.identities + self.skips

    def __post_init__(self):
        if self.skips and self.identities:
            raise ValueError("experts that give their input back beside ones that give zeros")
        if min(self.E, self.k, self.F, self.groups, self.groups_kept) < 1:
            raise ValueError(f"experts with a count below 1: {self}")
        size, rest = divmod(self.routes, self.groups)
        if rest or (self.groups > 1 and self.group_score == "top2" and size < 2):
            raise ValueError(f"{self.routes} experts do not form {self.groups} groups")
        if self.group_score not in ("max", "top2"):
            raise ValueError(f"unknown score {self.group_score!r} of a group of experts")
        if self.groups_kept > self.groups or self.k > size * self.groups_kept:
            raise ValueError(f"{self.k} experts of {self.groups_kept} groups of {size} experts")

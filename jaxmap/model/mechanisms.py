"""What a Spec is made of: positions, query norms, experts, latent attention, recurrent mixers.

Each is the facts of one mechanism, for `spec.Spec` to hold; letters are those of `spec`.
"""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class DynamicNtk:
    """Dynamic NTK scaling: the base grows with a text longer than the model was trained on."""

    theta: float
    factor: float
    trained: int  # tokens
    dims: int  # rotated channels as the formula counts them


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary position embedding (Su et al. 2021, arXiv:2104.09864) with its scaling resolved.

    Fields:
      dims: rotated channels of each head; the rest pass through.
      inv_freq: radians per position of each channel pair, dims/2 of them.
      pairs: which channels turn together: "half" (i, i + dims/2) or "adjacent" (2i, 2i + 1).
      gain: factor on cosine and sine (YaRN's and LongRoPE's attention factor).
      long_inv_freq, long_gain, long_beyond: what texts of more than `long_beyond` tokens use
        (LongRoPE); a gain of 0: the same.
      ntk: set when the frequencies depend on the text's length (dynamic NTK).
    """

    dims: int
    inv_freq: tuple[float, ...]
    pairs: str = "half"
    gain: float = 1.0
    long_inv_freq: tuple[float, ...] = ()
    long_gain: float = 0.0
    long_beyond: int = 0
    ntk: DynamicNtk | None = None

    def __post_init__(self):
        if self.dims % 2 or len(self.inv_freq) != self.dims // 2:
            raise ValueError(f"rope of {self.dims} channels with {len(self.inv_freq)} frequencies")
        if self.long_inv_freq and len(self.long_inv_freq) != len(self.inv_freq):
            raise ValueError("rope with short and long frequencies of different lengths")
        if self.pairs not in ("half", "adjacent"):
            raise ValueError(f"unknown channel pairs {self.pairs!r}")


@dataclasses.dataclass(frozen=True)
class Alibi:
    """Linear biases (Press et al. 2021, arXiv:2108.12409): slope x key position, added to scores.

    Fields:
      slopes: one a head.
      rounded: slope and position are rounded to bfloat16 and their product is scaled like q·k, as
        the reference does for Falcon even in float32.
    """

    slopes: tuple[float, ...]
    rounded: bool = False


@dataclasses.dataclass(frozen=True)
class QkNorm:
    """Normalisation of queries and keys before they are rotated.

    Fields:
      over: "head": each head by one shared scale; "heads": each head by its own; "all": all heads
        together.
      norm: a key of norms.NORMS; bias, offset, eps: as in `Spec`.
    """

    over: str
    norm: str
    eps: float
    bias: bool = False
    offset: float = 0.0

    def __post_init__(self):
        if self.over not in ("head", "heads", "all"):
            raise ValueError(f"unknown extent {self.over!r} of a query norm")


@dataclasses.dataclass(frozen=True)
class ClampedSwiglu:
    """How gpt-oss gates: min(g, limit) sigmoid(alpha g) (clip(u, ±limit) + 1)."""

    alpha: float
    limit: float


@dataclasses.dataclass(frozen=True)
class Experts:
    """MLPs of which each token takes the k that a router chooses for it.

    Fields:
      E, k, F: experts, those of a token, their width.
      score: a key of experts.SCORES, from the router's logits to weights.
      renorm: the chosen weights are divided by their sum, or by `least` where that is more.
      least: see `renorm`.
      jitter: how near to the best logit others must come to share with it ("sparsemixer").
      scale: on the weights, last.
      groups, groups_kept: only experts of the best groups (neighbours, all of one size) can be
        chosen; 1: no groups.
      group_score: what makes a group good: its best expert's score ("max") or the sum of its best
        two ("top2").
      correction: a stored number an expert is added to the scores for choosing only.
      router_bias, bias: in the router; in the experts.
      glu: set where the gate is not act(gate) * up.
      gated, act: as in `Spec`, of the experts; "": the Spec's.
      shared_F: width of an MLP that every token takes too; 0: none.
      shared_gate: the shared MLP's output is scaled by the sigmoid of a learned projection.
      on_shared: the experts read the shared MLP's output, not what the block reads.
      held_E: experts that the arrays have room for, those from E on never chosen; 0: E.
    """

    E: int
    k: int
    F: int
    score: str = "softmax"
    renorm: bool = False
    least: float = 0.0
    jitter: float = 0.0
    scale: float = 1.0
    groups: int = 1
    groups_kept: int = 1
    group_score: str = "max"
    correction: bool = False
    router_bias: bool = False
    bias: bool = False
    glu: ClampedSwiglu | None = None
    gated: bool = True
    act: str = ""
    shared_F: int = 0
    shared_gate: bool = False
    on_shared: bool = False
    held_E: int = 0

    def __post_init__(self):
        if min(self.E, self.k, self.F, self.groups, self.groups_kept) < 1:
            raise ValueError(f"experts with a count below 1: {self}")
        size, rest = divmod(self.E, self.groups)
        if rest or (self.groups > 1 and self.group_score == "top2" and size < 2):
            raise ValueError(f"{self.E} experts do not form {self.groups} groups")
        if self.group_score not in ("max", "top2"):
            raise ValueError(f"unknown score {self.group_score!r} of a group of experts")
        if self.groups_kept > self.groups or self.k > size * self.groups_kept:
            raise ValueError(f"{self.k} experts of {self.groups_kept} groups of {size} experts")


@dataclasses.dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434): what it is compressed to.

    Spec.C is `nope + rope`. The biases of the compressing projections are Spec.qkv_bias.

    Fields:
      q_rank: width of the compressed queries; 0: they are not compressed.
      kv_rank: width of the compressed keys and values.
      nope, rope: channels of a query's or key's head that are not turned, and that are; the turned
        part of a key is shared by all heads.
      v: channels of a value's head.
      eps: of the norms of what is compressed.
    """

    q_rank: int
    kv_rank: int
    nope: int
    rope: int
    v: int
    eps: float = 1e-6


@dataclasses.dataclass(frozen=True)
class StateSpace:
    """What state-space mixers are made of: Mamba (arXiv:2312.00752), Mamba-2 (arXiv:2405.21060).

    Fields:
      inner: channels inside the mixer.
      state: numbers that a channel remembers.
      taps: tokens that the convolution sees, itself included.
      rank: width that a token's time steps are projected from ("selective_scan").
      heads, groups: heads of channels with one time step each, and groups of heads that write to
        and read from the state alike ("ssd").
      step_limit: bounds on time steps ("ssd").
      act: after the convolution; the gate is always SiLU.
      conv_bias, in_bias, out_bias: in the convolution, the first and the last projection.
      norm: "selective_scan": of what is projected from the channels, "plain" or "scaled"; "ssd": of
        each group's output, "gated" before or "gate_last" after it is; "": none.
      eps: of that norm.
    """

    inner: int
    state: int
    taps: int
    rank: int = 0
    heads: int = 1
    groups: int = 1
    step_limit: tuple[float, float] = (0.0, math.inf)
    act: str = "silu"
    conv_bias: bool = True
    in_bias: bool = False
    out_bias: bool = False
    norm: str = ""
    eps: float = 1e-5

    def __post_init__(self):
        if min(self.inner, self.state, self.taps, self.heads, self.groups) < 1:
            raise ValueError(f"a state space with a size below 1: {self}")
        if self.inner % self.heads or self.heads % self.groups:
            raise ValueError(
                f"{self.inner} channels in {self.heads} heads in {self.groups} groups of a state "
                "space: uneven"
            )
        if self.norm not in ("", "plain", "scaled", "gated", "gate_last"):
            raise ValueError(f"unknown norm {self.norm!r} of a state space")


@dataclasses.dataclass(frozen=True)
class Rglru:
    """Real-gated linear recurrent unit (Griffin, De et al. 2024, arXiv:2402.19427).

    Fields:
      width: channels of the recurrence.
      heads: blocks of channels, each of which gates itself.
      taps: tokens that the convolution before it sees.
    """

    width: int
    heads: int
    taps: int

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"{self.width} channels do not divide into {self.heads} blocks")


@dataclasses.dataclass(frozen=True)
class Delta:
    """Gated delta rule (Yang et al. 2024, arXiv:2412.06464).

    Fields:
      H, G: heads of values, and of queries and keys; value heads share them as attention's
        queries share keys.
      K, C: channels of a key's head, and of a value's.
      taps: tokens that the convolutions of queries, keys and values see.
    """

    H: int
    G: int
    K: int
    C: int
    taps: int

    def __post_init__(self):
        if self.H % self.G:
            raise ValueError(f"{self.H} value heads do not share {self.G} key heads evenly")

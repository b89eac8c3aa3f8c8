"""Facts of recurrent mixers and convolutions, and of blocks that layers share, for a Spec.

Each class has the facts of one mechanism and is a field of `spec.Spec`. The letters are defined
in `spec`.
"""

from __future__ import annotations

import dataclasses
import math


@dataclasses.dataclass(frozen=True)
class Lightning:
    """Linear attention with a fixed decay per head and layer (Qin et al. 2024, arXiv:2401.04658).

    Fields:
      rates: per layer, the decay rate of each head: a key's weight falls by exp(-rate) a token.
      eps: the epsilon of the output's norm.
    """

    rates: tuple[tuple[float, ...], ...]
    eps: float


@dataclasses.dataclass(frozen=True)
class ShortConv:
    """Gated short convolution (Liquid AI 2025, LFM2, arXiv:2511.23404).

    Fields:
      taps: tokens that it sees, itself included.
      bias: of its projections and of the convolution.
    """

    taps: int
    bias: bool = False


@dataclasses.dataclass(frozen=True)
class Mlstm:
    """Matrix memory of the xLSTM (Beck et al. 2024, arXiv:2405.04517).

    Fields:
      K, C: the channels of a query or key head, and of a value head.
      gate_softcap: the gates before their activation become softcap tanh(z / softcap); 0: they stay
        as they are.
      eps: added to the divisor of the output, see `mlstm.matrix_memory`.
    """

    K: int
    C: int
    gate_softcap: float
    eps: float


@dataclasses.dataclass(frozen=True)
class StateSpace:
    """Facts of state-space mixers: Mamba (arXiv:2312.00752) and Mamba-2 (arXiv:2405.21060).

    The mixers are "selective_scan" and "selective_scan_of_heads" (Mamba), and "ssd" (Mamba-2).

    Fields:
      inner: the number of channels inside the mixer.
      state: the size of each channel's state.
      taps: the length of the convolution in tokens, the token itself included.
      rank: the width of the low-rank projection of the time steps ("selective_scan").
      heads: heads of channels: of those that share a time step ("ssd"), or of those that share the
        projections that depend on the input ("selective_scan_of_heads").
      groups: groups of heads that share the projections into and out of the state ("ssd").
      step_limit: lower and upper bound of the time steps ("ssd").
      act: the activation after the convolution; the gate is always SiLU.
      conv_bias, in_bias, out_bias: whether the convolution, the first and the last projection have
        biases.
      norm: for "selective_scan", the norm of time steps and projections, "plain" (without a scale)
        or "scaled"; for "ssd", the norm of each group's output, "gated" (after the gate) or
        "gate_last" (before it); "": none.
      eps: the epsilon of that norm.
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
class Shared:
    """Blocks of attention and an MLP whose weights several layers share (Zamba, arXiv:2405.16712).

    Fields:
      blocks: the number of blocks, which layers use in turn.
      layers: the number of layers that use one.
      rank: the rank of the adapters that each such layer has (Zamba2, arXiv:2411.15242); 0: none.
      attention_adapters: whether queries, keys and values have adapters too.
    """

    blocks: int
    layers: int
    rank: int = 0
    attention_adapters: bool = False


@dataclasses.dataclass(frozen=True)
class Rglru:
    """Real-gated linear recurrent unit (Griffin, De et al. 2024, arXiv:2402.19427).

    Fields:
      width: the number of channels of the recurrence.
      heads: the number of blocks of channels; the gates of a block are read off this block alone.
      taps: the length in tokens of the convolution before the recurrence.
    """

    width: int
    heads: int
    taps: int

    def __post_init__(self):
        if self.width % self.heads:
            raise ValueError(f"{self.width} channels do not divide into {self.heads} blocks")


@dataclasses.dataclass(frozen=True)
class Delta:
    """Gated delta rule (Yang et al. 2024, arXiv:2412.06464), with its form in Kimi delta attention.

    Fields:
      H, G: the numbers of value heads and of query and key heads; H / G value heads share a query
        and a key.
      K, C: the channels of a key head and of a value head.
      taps: the length in tokens of the convolutions of queries, keys and values.
      rate: the largest rate; 2 allows updates with negative eigenvalues (Grazzi et al. 2024,
        arXiv:2411.12537).
      eps: the epsilon of the output's norm; 0: the Spec's.
      gate: the activation of the output's gate, a key of ACTIVATIONS or "sigmoid" ("delta").
      low_rank: whether decays and gates are projections through K channels ("kimi_delta").
      least_log_decay: if below 0, the logarithm of a decay is this times the sigmoid of
        exp(A) (a + dt), see `KimiDelta`, which bounds it.
    """

    H: int
    G: int
    K: int
    C: int
    taps: int
    rate: float = 1.0
    eps: float = 0.0
    gate: str = "silu"
    low_rank: bool = True
    least_log_decay: float = 0.0

    def __post_init__(self):
        if self.H % self.G:
            raise ValueError(f"{self.H} value heads do not share {self.G} key heads evenly")

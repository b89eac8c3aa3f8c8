"""Architecture facts of one decoder, as data.

The alphabet, used for fields, array suffixes, einsums and layouts alike:

  B rows  T, S query and key tokens  D width  H query heads  G key/value heads
  C channels per head  F MLP width  V vocabulary  L layers
"""

from __future__ import annotations

import dataclasses

# The places where a block may normalise; an absent slot is the identity.
#   attn_in   before attention          attn_out  on attention's output, before it is added
#   mlp_in    before the MLP            mlp_out   on the MLP's output, before it is added
NORM_SLOTS = ("attn_in", "attn_out", "mlp_in", "mlp_out")


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
      gain: factor on cosine and sine (YaRN's and LongRoPE's attention factor).
      long_inv_freq, long_beyond: what texts of more than `long_beyond` tokens use (LongRoPE).
      ntk: set when the frequencies depend on the text's length (dynamic NTK).
    """

    dims: int
    inv_freq: tuple[float, ...]
    gain: float = 1.0
    long_inv_freq: tuple[float, ...] = ()
    long_beyond: int = 0
    ntk: DynamicNtk | None = None

    def __post_init__(self):
        if self.dims % 2 or len(self.inv_freq) != self.dims // 2:
            raise ValueError(f"rope of {self.dims} channels with {len(self.inv_freq)} frequencies")
        if self.long_inv_freq and len(self.long_inv_freq) != len(self.inv_freq):
            raise ValueError("rope with short and long frequencies of different lengths")


@dataclasses.dataclass(frozen=True)
class Spec:
    """Everything about an architecture that can change a logit, hashable.

    Two checkpoints with equal specs share one compiled program.
    """

    L: int
    D: int
    H: int
    G: int
    C: int
    F: int
    V: int
    context: int  # tokens; longer texts are cut

    # Residual wiring: which norm slots exist, and whether both branches read the same input.
    norms: frozenset[str] = frozenset({"attn_in", "mlp_in"})
    parallel: bool = False
    norm: str = "rms"  # a key of norms.NORMS
    norm_bias: bool = False
    eps: float = 1e-6

    # Attention.
    qkv_bias: bool = False
    out_bias: bool = False
    rope: Rope | None = None
    scale: tuple[float, ...] = ()  # per layer, on q·k; empty: C**-0.5 everywhere
    window: tuple[int, ...] = ()  # per layer, tokens seen, itself included; 0: all; empty: all

    # MLP.
    act: str = "silu"  # a key of mlp.ACTIVATIONS
    gated: bool = True
    mlp_bias: bool = False

    # Ends.
    positions: int = 0  # rows of the learned position table; 0: none
    tied: bool = False  # the head is the embedding

    def __post_init__(self):
        for name in "LDHGCFV":
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}, must be at least 1")
        if self.H % self.G:
            raise ValueError(f"{self.H} query heads do not share {self.G} key/value heads evenly")
        if unknown := self.norms - set(NORM_SLOTS):
            raise ValueError(f"unknown norm slots {sorted(unknown)}; known: {NORM_SLOTS}")
        if self.rope and self.rope.dims > self.C:
            raise ValueError(f"rope turns {self.rope.dims} of {self.C} channels")
        for name in ("scale", "window"):
            if len(getattr(self, name)) not in (0, self.L):
                raise ValueError(
                    f"{name} has {len(getattr(self, name))} entries for {self.L} layers"
                )
        if any(w < 0 for w in self.window):
            raise ValueError(f"negative window in {self.window}")
        if self.context < 2:
            raise ValueError(f"a context of {self.context} tokens leaves nothing to score")

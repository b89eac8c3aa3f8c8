"""Facts of positions and of forms of attention, for a Spec.

Each class has the facts of one mechanism and is a field of `spec.Spec`. The letters are defined
in `spec`.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class DynamicNtk:
    """Dynamic NTK scaling: the base grows with the length of texts beyond the trained length.

    Fields:
      theta: the base of the frequencies.
      factor: the scaling factor of config.json.
      trained: the trained length in tokens.
      dims: the number of rotated channels in the formula.
    """

    theta: float
    factor: float
    trained: int
    dims: int


@dataclasses.dataclass(frozen=True)
class Rope:
    """Rotary position embedding (Su et al. 2021, arXiv:2104.09864), scaling included.

    Fields:
      dims: the number of rotated channels of each head; the other channels stay as they are.
      inv_freq: radians per position of each channel pair, dims/2 numbers.
      pairs: which channels are rotated together: "half" (i, i + dims/2) or "adjacent" (2i, 2i + 1).
      gain: the factor on cosine and sine (the attention factor of YaRN and LongRoPE).
      long_inv_freq, long_gain: frequencies and factor of texts of more than `long_beyond` tokens
        (LongRoPE); a long_gain of 0 stands for `gain`.
      long_beyond: see above, in tokens.
      ntk: set if the frequencies depend on the text's length (dynamic NTK).
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
      slopes: one per head.
      rounded: whether slope and position are rounded to bfloat16 and their product is scaled like
        q·k, as transformers does for Falcon even in float32.
    """

    slopes: tuple[float, ...]
    rounded: bool = False


@dataclasses.dataclass(frozen=True)
class QkNorm:
    """Normalisation of queries and keys, before they are rotated unless `after_rope`.

    Fields:
      over: "head": each head, with one scale for all heads; "heads": each head with a scale of its
        own; "all": all heads together.
      norm: a key of norms.NORMS.
      eps, scale, bias, offset: as in `Spec`.
      after_rope: whether they are normalised after the rotation.
      turned_only: whether layers without a rope leave theirs as they are.
    """

    over: str
    norm: str
    eps: float
    bias: bool = False
    offset: float = 0.0
    scale: bool = True
    after_rope: bool = False
    turned_only: bool = False

    def __post_init__(self):
        if self.over not in ("head", "heads", "all"):
            raise ValueError(f"unknown extent {self.over!r} of a query norm")


@dataclasses.dataclass(frozen=True)
class Temperature:
    """Queries grow with their position (Nakanishi 2025, arXiv:2501.19399).

    A query at position p is multiplied by 1 + beta log(1 + floor((p + offset) / span)), as in
    Llama 4, or by (1 + (p + offset) / span)^beta, as in Beam.

    Fields:
      beta, span, offset: see above; span in tokens.
      unturned_only: only in layers without a rope.
      power: whether the second formula holds.
    """

    beta: float
    span: float
    offset: int = 0
    unturned_only: bool = False
    power: bool = False


@dataclasses.dataclass(frozen=True)
class OutGate:
    """A gate on attention's output, before the last projection: it is multiplied by act(z).

    z is a projection of the layer's input unless `of_queries`.

    Fields:
      per: "channel": a gate for each channel of each head; "head": one for each head.
      act: a key of output_gate.GATES.
      bias: the biases of z, one for each "channel" or "head"; "": none.
      of_queries: whether z is a projection of what latent attention projects queries from.
    """

    per: str = "channel"
    act: str = "sigmoid"
    bias: str = ""
    of_queries: bool = False

    def __post_init__(self):
        if self.per not in ("channel", "head"):
            raise ValueError(f"a gate per {self.per!r} of attention's output")
        if self.bias not in ("", "head", self.per):
            raise ValueError(f"a bias per {self.bias!r} of a gate per {self.per}")


@dataclasses.dataclass(frozen=True)
class QkConv:
    """Convolutions of queries and keys over tokens (Figliolia et al. 2025, arXiv:2510.04476).

    Fields:
      taps: tokens that the convolution of each channel sees, itself included.
      head_taps: those that the convolution of each head's channels sees.
    """

    taps: int
    head_taps: int


@dataclasses.dataclass(frozen=True)
class Latent:
    """Multi-head latent attention (DeepSeek-V2, arXiv:2405.04434): its widths.

    Spec.C is `nope + rope`. Spec.qkv_bias says whether the compressing projections have biases.

    Fields:
      q_rank: the width of the compressed queries; 0: they are not compressed.
      kv_rank: the width of the compressed keys and values.
      nope, rope: the channels of a query or key head without rotation and with it; the rotated part
        of a key is shared by all heads.
      v: the channels of a value head.
      eps: the epsilon of the norms of the compressed vectors.
      q_raw: whether queries are projected from two vectors in a row: the compressed one after its
        norm, and before it.
      q_gain: a factor on queries.
      kv_gain: a factor on the compressed keys and values after their norm.
    """

    q_rank: int
    kv_rank: int
    nope: int
    rope: int
    v: int
    eps: float = 1e-6
    q_raw: bool = False
    q_gain: float = 1.0
    kv_gain: float = 1.0

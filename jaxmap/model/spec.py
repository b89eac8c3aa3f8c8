"""The architecture of one decoder, as data.

The same letters name sizes in fields, array suffixes, einsums and layouts:

  B rows  T, S query and key tokens  D width  H query heads  G key/value heads
  C channels per head  F MLP width  V vocabulary  L layers
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import groupby

from jaxmap.model.attention_facts import Alibi, Latent, OutGate, QkConv, QkNorm, Rope, Temperature
from jaxmap.model.expert_facts import ClampedSwiglu, Experts
from jaxmap.model.layer_kind import Kind, ResidualFactors
from jaxmap.model.recurrent_facts import (
    Delta,
    Lightning,
    Mlstm,
    Rglru,
    Shared,
    ShortConv,
    StateSpace,
)
from jaxmap.model.streams import (
    AltUp,
    GatedStreams,
    HyperConnections,
    LayerEmbedding,
    NGrams,
)

# Where a block may normalise; a slot that is left out is the identity.
#   attn_in   before the mixer         attn_out  on the mixer's output, before it is added
#   attn_res  on the residual stream after the mixer
#   mlp_in    before the MLP           mlp_out   on the MLP's output, before it is added
#   mlp_res   on the residual stream after the MLP
NORM_SLOTS = ("attn_in", "attn_out", "attn_res", "mlp_in", "mlp_out", "mlp_res")


@dataclasses.dataclass(frozen=True)
class Multipliers:
    """Fixed factors inside a block, as muP-trained models have them (Falcon-H1, arXiv:2507.22448).

    Fields:
      attn_in, attn_out, ssm_in, ssm_out: on the input and output of each mixer of `TwoMixers`.
      ssm_parts: on the five parts of a state space's first projection: gate, channels, projections
        into and out of the state, time steps.
      gate, mlp_out: on an MLP's gate before its activation, and on its output.
    """

    attn_in: float = 1.0
    attn_out: float = 1.0
    ssm_in: float = 1.0
    ssm_out: float = 1.0
    ssm_parts: tuple[float, ...] = (1.0,) * 5
    gate: float = 1.0
    mlp_out: float = 1.0


@dataclasses.dataclass(frozen=True)
class Spec:
    """Everything about an architecture that can change a logit; hashable.

    Two checkpoints with equal specs share one compiled program. The sizes L to V are in the
    alphabet at the top of this module.
    """

    L: int
    D: int
    H: int
    G: int
    C: int
    F: int
    V: int
    context: int | None  # tokens; longer texts are cut; None: no limit
    # Tokens; in longer texts queries see only keys that an indexer chooses, which the decoder does
    # not do, so that such texts are refused; None: queries see all keys of texts of any length.
    dense_up_to: int | None = dataclasses.field(default=None, kw_only=True)
    # Per layer, its number in the names of a checkpoint's tensors; empty: 0 to L - 1.
    layer_numbers: tuple[int | str, ...] = ()
    embed_V: int = 0  # rows of a checkpoint's embedding, of which the first V are used; 0: V
    kinds: tuple[Kind, ...] = ()  # per layer; empty: attention and a dense MLP everywhere

    # Residual wiring: which norm slots exist; in a parallel block both branches read the block's
    # input, and an MLP without a norm of its own reads the attention's normed input.
    norms: frozenset[str] = frozenset({"attn_in", "mlp_in"})
    parallel: bool = False
    residual_normed: bool = False  # branches are added to their normed inputs (a BLOOM's option)
    residual_learnt: bool = False  # the stream is multiplied by a vector before each sum
    residual_affine: bool = False  # stream and branch are scaled and shifted before each sum
    residual_scale: float = 1.0  # on each branch before it is added
    halve_every: int = 0  # halve the residual stream after so many layers (RWKV); 0: never
    residual_float32: bool = False  # the residual stream is always float32
    residual: tuple[ResidualFactors, ...] = ()  # per layer, beside Kind.residual; empty: none
    hierarchical: bool = False  # stacks leave states for one another (`hierarchy.Hierarchy`)
    altup: AltUp | None = None  # several residual streams
    hyper: HyperConnections | None = None  # several residual streams, of another kind
    gated_streams: GatedStreams | None = None  # several residual streams, of a third kind
    ngrams: tuple[NGrams, ...] = ()  # hashed embeddings, which layers add to gated streams
    laurel_rank: int = 0  # of learned augmented residuals (`altup.AugmentedResidual`); 0: none
    layer_embedding: LayerEmbedding | None = None  # embeddings of tokens for each layer
    layer_scaled: bool = False  # the stream after each layer is multiplied by a learnt number
    multipliers: Multipliers = Multipliers()
    norm: str = "rms"  # a key of norms.NORMS
    norm_scale: bool = True
    norm_bias: bool = False
    norm_offset: float = 0.0  # added to the stored scale
    eps: float = 1e-6
    norm_gate_rank: int = 0  # of gates on the norms inside blocks (`norms.GatedNorm`); 0: no gates

    # Attention.
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: QkNorm | None = None
    v_norm: bool = False  # the channels of each value head are RMS-normalised, without a scale
    value_C: int = 0  # channels of a value head; 0: C
    value_scale: float = 1.0  # on values
    clip_qkv: float = 0.0  # bound on queries, keys and values; 0: none
    clip_normed: bool = False  # clip after the query norm instead of before
    softcap: float = 0.0  # scores become softcap tanh(score / softcap); 0: none
    sinks: bool = False  # a learned score per head in the softmax, without a value
    ropes: tuple[Rope, ...] = ()
    rope_of: tuple[int, ...] = ()  # per layer, index in `ropes`, -1: none; empty: 0
    alibi: Alibi | None = None
    temperature: Temperature | None = None
    mixed_norm: bool = False  # one norm of the output of all heads, before the projection
    value_bias: bool = False  # scores have a bias that the key's value gives (ValueBias)
    out_gate: OutGate | None = None  # on the output, before the last projection
    qk_conv: QkConv | None = None  # facts of layers with Kind.mixer "convolved_attention"
    latent: Latent | None = None  # facts of layers with "latent"
    rglru: Rglru | None = None  # facts of layers with "rglru"
    delta: Delta | None = None  # facts of layers with "delta"
    # Facts of layers with "selective_scan", "selective_scan_of_heads" or "ssd", alone or shared.
    ssm: StateSpace | None = None
    lightning: Lightning | None = None  # facts of layers with "lightning"
    mlstm: Mlstm | None = None  # facts of layers with "mlstm"
    # Per layer with "differential", the constant in the factor of the softmax that is subtracted.
    subtracted: tuple[float, ...] = ()
    shared: Shared | None = None  # facts of layers with "shared+" and a state space
    short_conv: ShortConv | None = None  # facts of layers with "short_conv"
    scale: tuple[float, ...] = ()  # per layer, on q·k; empty: C**-0.5 everywhere
    window: tuple[int, ...] = ()  # per layer, tokens seen, itself included; 0: all; empty: all
    # Per layer, tokens of the pieces of a text that do not see each other; 0: one; empty: one.
    chunk: tuple[int, ...] = ()

    # MLP.
    act: str = "silu"  # a key of mlp.ACTIVATIONS or mlp.LEARNED
    inner_norm: bool = False  # of an MLP's inner activations, before they are projected back
    gated: bool = True
    glu: ClampedSwiglu | None = None  # the gated activation of dense MLPs, if not act(gate) * up
    mlp_bias: bool = False
    # Per layer: the gate of a dense MLP, before its activation, becomes max(0, gate - mean - cutoff
    # x standard deviation), both over its channels; -inf: as it is; empty: as it is everywhere.
    cutoff: tuple[float, ...] = ()
    experts: Experts | None = None  # facts of layers with Kind.mlp "experts"

    # Ends.
    padded_V: int = 0  # rows of embedding and head; rows from V on are zeros; 0: V
    positions: int = 0  # rows of the learned position table; 0: none
    position_offset: int = 0  # the table's row for position 0
    # D/2 frequencies in radians per position of fixed sines and cosines, which are added to the
    # embedding; empty: none.
    sinusoids: tuple[float, ...] = ()
    embed_D: int = 0  # width of the embedding where it is projected to D (OPT-350m); 0: D
    embed_scale: float = 1.0
    embed_affine: bool = False  # embeddings are shifted and scaled by learnt vectors
    embed_bias: bool = False  # a learnt vector is added to every embedding
    embed_norm: bool = False
    embed_norm_scale: bool = True  # whether that norm has a scale where the others have one
    final_norm: bool = True
    final_eps: float = 0.0  # of the final norm; 0: eps
    final_offset: float | None = None  # of the final norm; None: norm_offset
    out_eps: float = 0.0  # of the norms attn_out and mlp_out; 0: eps
    final_bias: bool = True  # whether the final norm has a bias where the others have one
    tied: bool = False  # the head is the embedding
    head_bias: bool = False
    head_normed: bool = False  # each row of the head is divided by its length
    # The activation between a square projection of the final states and a norm of it, which come
    # before the head (ModernBERT); "": neither. `head_in_bias`: of the projection.
    head_in_act: str = ""
    head_in_bias: bool = False
    logit_scale: float = 1.0
    logit_softcap: float = 0.0

    def __post_init__(self):
        for name in "LDHGCFV":
            if getattr(self, name) < 1:
                raise ValueError(f"{name} = {getattr(self, name)}, must be at least 1")
        if self.H % self.G:
            raise ValueError(f"{self.H} query heads do not share {self.G} key/value heads evenly")
        if odd := [k for k in self.kinds if (k.H or self.H) % (k.G or self.G)]:
            raise ValueError(f"query heads that do not share key/value heads evenly: {odd[0]}")
        if unknown := self.norms - set(NORM_SLOTS):
            raise ValueError(f"unknown norm slots {sorted(unknown)}; known: {NORM_SLOTS}")
        heads = {kind.C or self.C for kind in self.kinds} or {self.C}
        if any(rope.dims > max(heads) for rope in self.ropes):
            raise ValueError(f"rope turns more than the {max(heads)} channels of a head")
        turned = {rope.dims for rope in self.ropes}
        # Layers turn whole heads unless they say how much of one, see `attention.turn_of`.
        wanted = {kind.turned or kind.C or self.C for kind in self.kinds}
        if len({rope.pairs for rope in self.ropes}) > 1 or (len(turned) > 1 and turned != wanted):
            raise ValueError("ropes that turn different channels")
        if any(not -1 <= i < len(self.ropes) for i in self.rope_of):
            raise ValueError(f"rope_of names ropes that are not there: {self.rope_of}")
        by_layer = ("scale", "window", "chunk", "rope_of", "kinds", "cutoff", "subtracted")
        if len(self.layer_numbers) not in (0, max(stop for _, _, stop in self.stacks())):
            raise ValueError(f"{len(self.layer_numbers)} numbers of layers")
        for name in (*by_layer, "residual"):
            count = len(getattr(self, name))
            if count not in (0, self.L):
                raise ValueError(f"{name} has {count} entries for {self.L} layers")
        for name in ("window", "chunk"):
            if any(tokens < 0 for tokens in getattr(self, name)):
                raise ValueError(f"negative {name} in {getattr(self, name)}")
        if self.sinusoids and 2 * len(self.sinusoids) != self.D:
            raise ValueError(f"{len(self.sinusoids)} sinusoids for a width of {self.D}")
        if self.context is not None and self.context < 2:
            raise ValueError(f"a context of {self.context} tokens leaves nothing to score")
        if self.dense_up_to is not None and self.dense_up_to < 2:
            raise ValueError(
                f"texts of at most {self.dense_up_to} tokens leave nothing to score: an indexer "
                "chooses the keys in longer ones"
            )

    @property
    def streams(self) -> int:
        """The number of residual streams."""
        if self.altup is not None:
            return self.altup.streams
        connected = self.hyper or self.gated_streams
        return 1 if connected is None else connected.streams

    @property
    def longest_text(self) -> int | None:
        """The most tokens of a text that can be scored; None: no limit."""
        limits = [tokens for tokens in (self.context, self.dense_up_to) if tokens is not None]
        return min(limits, default=None)

    @property
    def layers_stand_alone(self) -> bool:
        """Whether layers read nothing of other layers or of tokens, but for shared blocks."""
        if self.layer_embedding is not None or self.router_width:
            return False
        return not any(kind.reads or kind.stack for kind in self.kinds)

    @property
    def router_width(self) -> int:
        """The width of the state that routers pass from layer to layer; 0: they have none."""
        return 0 if self.experts is None else self.experts.router_width

    def stacks(self) -> Iterator[tuple[Kind, int, int]]:
        """Runs of neighbouring layers of one kind: (kind, first layer, last layer + 1).

        Layers that run several times count once (`Kind.stack`).
        """
        start = 0
        for kind, run in groupby(self.kinds or (Kind(),) * self.L):
            if kind.turn == 0:
                stop = start + len(list(run))
                yield kind, start, stop
                start = stop

    def runs(self) -> Iterator[tuple[int, Kind, int, int]]:
        """The stacks as they run: (number of the stack, kind, first layer, last layer + 1).

        Here every run of a layer counts.
        """
        start, first = 0, [kind for kind, _, _ in self.stacks()]
        seen = iter(range(len(first)))
        for kind, run in groupby(self.kinds or (Kind(),) * self.L):
            again = dataclasses.replace(kind, turn=0)
            stop = start + len(list(run))
            yield next(seen) if kind.turn == 0 else first.index(again), kind, start, stop
            start = stop

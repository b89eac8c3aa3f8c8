"""The arithmetic and memory traffic of scoring, counted from the architecture.

Compilers count the body of a loop over layers only once, so their figures cannot be used.
"""

from __future__ import annotations

import dataclasses
import math
from collections import Counter

from flax import nnx

from jaxmap.model import decoder
from jaxmap.model.mesh import letters_of
from jaxmap.model.spec import Spec


@dataclasses.dataclass(frozen=True)
class Work:
    """The arithmetic and memory traffic of scoring.

    Fields:
      parameters: the number of weights of the model.
      weight_flops: operations per token with weights, two for each weight that is used. Tables
        of embeddings, which are read, do not count; the unembedding and chosen experts do.
      key_flops: operations for each pair of a token and a key that its query sees, over all layers
        with attention: two per channel of every head of keys (scores) and of values (their mean).
      weight_bytes: bytes of weights that a batch reads at least once, including all experts.
      stream_bytes: bytes per token that are written to memory and read back between fused steps at
        least: the residual streams twice per layer, and activations inside layers (queries, keys,
        values, MLP).
    """

    parameters: int
    weight_flops: int
    key_flops: int
    weight_bytes: int
    stream_bytes: int

    def flops(self, tokens: int, keys: float) -> float:
        """The operations for so many tokens, whose queries see `keys` keys on average."""
        return tokens * (self.weight_flops + keys * self.key_flops)

    def bytes_moved(self, tokens: int, batches: int) -> float:
        """The memory traffic in bytes: weights once per batch, activations once per token."""
        return batches * self.weight_bytes + tokens * self.stream_bytes


def count(spec: Spec, *, weight_bytes: int, activation_bytes: int) -> Work:
    """Counts for one model; `weight_bytes` and `activation_bytes` are bytes per number."""
    _, shapes = decoder.abstract(spec)
    parameters, met = 0, 0.0
    again = Counter(stack for stack, _, _, _ in spec.runs())
    for path, leaf in nnx.to_flat_state(shapes):
        size = math.prod(leaf.shape)
        parameters += size
        vector = path[-1] == "bias" or len(leaf.shape) - (path[0] == "blocks") < 2
        if vector or path[0] in ("embed", "positions") or path[-1] == "table":
            continue
        runs = again[int(str(path[1]))] if path[0] == "blocks" else 1
        met += runs * size * _chosen(spec, leaf)
    met += spec.V * (spec.embed_D or spec.D) if spec.tied else 0
    key_flops, twofold, inner = 0, 0, 0
    for _, kind, start, stop in spec.runs():
        layers = stop - start
        H, G, C = kind.H or spec.H, kind.G or spec.G, kind.C or spec.C
        value_C = spec.value_C or C
        if kind.mixer == "latent":
            assert spec.latent is not None
            value_C = spec.latent.v
        twice = kind.mlp == "shortcut_experts"  # which has attention and a second MLP in it
        attentions = ("attention" in kind.mixer or kind.mixer == "latent") + twice
        key_flops += attentions * layers * 2 * H * (C + value_C)
        twofold += layers * twice
        inner += (1 + twice) * layers * ((H + G) * (C + value_C) + 2 * (kind.F or spec.F))
    return Work(
        parameters=parameters,
        weight_flops=round(2 * met),
        key_flops=key_flops,
        weight_bytes=parameters * weight_bytes,
        stream_bytes=((spec.L + twofold) * 4 * spec.D * spec.streams + 2 * inner)
        * activation_bytes,
    )


def _chosen(spec: Spec, leaf: nnx.Variable) -> float:
    """The share of a parameter that is used for one token."""
    if spec.experts is None or "x" not in letters_of(leaf):
        return 1.0
    return spec.experts.k / spec.experts.routes

"""Parts of a Spec about the residual stream: parallel streams, and embeddings for each layer.

The letters are defined in `spec`.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class AltUp:
    """Alternating updates (Baykal et al. 2023, arXiv:2301.13310): several residual streams.

    A layer predicts all streams, computes its branches on one of them, and corrects all of them by
    the error of that prediction. After the last layer the streams are averaged.

    Fields:
      streams: the number of streams.
      active: the stream that the branches are computed on.
      scaled: whether the active stream is scaled by stored numbers before the layer's embedding
        is applied to it.
    """

    streams: int
    active: int = 0
    scaled: bool = True

    def __post_init__(self):
        if not 0 <= self.active < self.streams:
            raise ValueError(f"stream {self.active} of {self.streams} streams")


@dataclasses.dataclass(frozen=True)
class HyperConnections:
    """Several residual streams that are summed before each branch (`layers.hyper_connections`).

    Fields:
      streams: the number of streams.
      eps: added to the weights of streams in sums, and in the iteration that normalises a mixing.
      gain: the largest weight of a branch's output in a stream.
      out_eps: added to these weights.
      sinkhorn: the rounds of the iteration that makes the matrix by which streams are mixed doubly
        stochastic; 0: streams are not mixed.
      learnt_end: whether the streams after the last layer are summed with learnt weights; otherwise
        their mean is taken.
    """

    streams: int
    eps: float
    gain: float = 2.0
    out_eps: float = 0.0
    sinkhorn: int = 0
    learnt_end: bool = True

    def __post_init__(self):
        if self.streams < 1 or self.sinkhorn < 0:
            raise ValueError(f"hyper-connections with a count that is too small: {self}")


@dataclasses.dataclass(frozen=True)
class GatedStreams:
    """Residual streams that are gated before each branch (`layers.gated_residual`).

    Fields:
      streams: the number of streams.
      rank: the width of the projection that gives the gates.
    """

    streams: int
    rank: int

    def __post_init__(self):
        if min(self.streams, self.rank) < 1:
            raise ValueError(f"gated streams with a count below 1: {self}")


@dataclasses.dataclass(frozen=True)
class NGrams:
    """Hashed embeddings of n-grams that one layer adds (`layers.ngram_embedding`).

    Fields:
      factors: the factor of a token's id by its distance from the last token of the n-gram, from 0;
        the longest n-gram has as many tokens.
      moduli: what each hash is taken modulo, all hashes of pairs first, then of triples, and so on;
        the table has so many rows for each.
      rows: the rows of the table, those at its end included that no hash gives.
      parts: the number of tensors of equal size in which files have the table.
      width: the channels of all embeddings of a token.
      taps: the tokens that the convolution reads.
      end_id: the id of the token that ends a text.
    """

    factors: tuple[int, ...]
    moduli: tuple[int, ...]
    rows: int
    parts: int
    width: int
    taps: int
    end_id: int

    def __post_init__(self):
        lengths = len(self.factors) - 1
        if lengths < 1 or not self.moduli or len(self.moduli) % lengths:
            raise ValueError(f"{len(self.moduli)} hashes of {lengths} lengths of n-grams")
        if self.width % len(self.moduli) or self.rows % self.parts:
            raise ValueError(f"embeddings of n-grams that do not divide evenly: {self}")
        if max(self.moduli) >= 2**31 or not sum(self.moduli) <= self.rows < 2**31:
            raise ValueError(f"a table of n-grams with {self.rows} rows")


@dataclasses.dataclass(frozen=True)
class LayerEmbedding:
    """Embeddings of every token for each layer by itself (Gemma 3n, Google DeepMind 2025).

    Fields:
      width: the channels of a layer's embedding of a token.
      V: the number of tokens in the table; tokens from V on have the embedding of token 0.
    """

    width: int
    V: int

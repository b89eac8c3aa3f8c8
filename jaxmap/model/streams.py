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
class LayerEmbedding:
    """Embeddings of every token for each layer by itself (Gemma 3n, Google DeepMind 2025).

    Fields:
      width: the channels of a layer's embedding of a token.
      V: the number of tokens in the table; tokens from V on have the embedding of token 0.
    """

    width: int
    V: int

"""The final hidden states of a model that is larger than memory: one layer at a time.

The weights of a layer are read, all texts go through it, and the residual streams wait in a file
for the next layer. In array names, B is rows, T the tokens of a row, D the width of the model, E
the channels of the unembedding.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from absl import logging
from flax import nnx

from jaxmap.atomic import write_atomic
from jaxmap.checkpoint.layer_weights import LayerWeights
from jaxmap.checkpoint.open_checkpoint import Opened
from jaxmap.corpus.batches import Batch, BatchPlan, batches
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine import readout
from jaxmap.engine.scorer import kernels_for
from jaxmap.engine.scores import Results, check_ids, check_lengths
from jaxmap.engine.statistics import DEFAULT, chosen
from jaxmap.engine.unembedding import Unembedding
from jaxmap.errors import InputError
from jaxmap.model.decoder import Decoder
from jaxmap.model.inputs import Inputs, LayerFacts
from jaxmap.model.layers.linear import computing_in
from jaxmap.precision import PRECISIONS
from jaxmap.progress import progress


class LayerByLayer:
    """A model of which the ends and one layer are in memory at a time, on one device.

    Args:
      found: the open checkpoint.
      dtype: the precision, a key of PRECISIONS.

    Fields:
      vocabulary: the number of tokens that it has.
      width: D.

    Raises InputError for a model whose layers read more than the residual stream.
    """

    def __init__(self, found: Opened, dtype: str):
        if not found.spec.layers_stand_alone:
            raise InputError(
                f"{found.name}: its layers run several times, or read embeddings of their own, or "
                "keys, values or router states of earlier layers: it cannot be read layer by "
                "layer; give it more memory",
                field="layer_by_layer",
            )
        self.vocabulary, self.width = found.spec.V, found.spec.D
        self._spec, self._dtype = found.spec, dtype
        self._weights = LayerWeights(found, dtype)
        self._ends = self._weights.ends()
        self._kernels = kernels_for(jax.default_backend())
        self._start = jax.jit(self._in_precision(Decoder.residual_start))
        self._finish = jax.jit(self._in_precision(Decoder.unembedded))
        self._through = jax.jit(
            self._in_precision(_through), static_argnames=("stack", "reach", "block", "platform")
        )

    def _in_precision(self, run: Any) -> Any:
        """`run(decoder, ...)` as a function of parameters."""

        @functools.wraps(run)
        def with_decoder(params: nnx.State, *args: Any, **static: Any) -> Any:
            decoder: Decoder = nnx.merge(self._weights.graph, params)
            with computing_in(self._dtype):
                return run(decoder, *args, **static)

        return with_decoder

    @property
    def states_dtype(self) -> np.dtype:
        """The dtype of `states`."""
        return np.dtype(jnp.dtype(PRECISIONS[self._dtype].activations))

    @functools.cached_property
    def unembedding(self) -> Unembedding:
        """The map from `states` to logits."""
        return jax.jit(self._in_precision(Unembedding.of))(self._ends)

    def num_bytes_of_streams(self, packed: BatchPlan) -> int:
        """The most bytes that residual streams take on the disk: those of two layers."""
        kind = np.dtype(np.float32) if self._spec.residual_float32 else self.states_dtype
        return 2 * packed.num_places * self._spec.streams * self.width * kind.itemsize

    def states(
        self, tokens: Tokens, packed: BatchPlan, streams: Path
    ) -> Iterator[tuple[Batch, np.ndarray]]:
        """Each batch with its final hidden states [B, T, E]; resumes after the last whole layer.

        Args:
          tokens: the text set.
          packed: the plan of its batches.
          streams: the residual streams before layer i wait in a file of this name and `.layerI`;
            none is left in the end. The name has to say what the streams depend on.
        """
        check_ids(tokens, self.vocabulary, "reference")
        check_lengths(tokens, self._spec.dense_up_to)
        L = self._spec.L
        kept = [layer for layer in range(1, L + 1) if _file(streams, layer).exists()]
        first = max(kept, default=0)
        if first:
            logging.info("layer by layer: resumed before layer %d of %d", first, L)
        with progress(L, "layers", "layer") as bar:
            bar.update(first)
            for layer in range(first, L):
                write_atomic(
                    _file(streams, layer + 1),
                    functools.partial(self._write_layer, layer, tokens, packed, streams),
                )
                _file(streams, layer).unlink(missing_ok=True)
                bar.update(1)
        for batch, x_BTD in self._streams(L, tokens, packed, streams):
            states_BTE = self._finish(self._ends, x_BTD, _inputs(batch))
            yield batch, np.asarray(states_BTE)
        for layer in range(L + 1):
            _file(streams, layer).unlink(missing_ok=True)

    def _write_layer(
        self, layer: int, tokens: Tokens, packed: BatchPlan, streams: Path, file: Any
    ) -> None:
        params = self._weights.of_layer(layer)
        facts = LayerFacts.of(self._spec, layer, layer + 1)
        for batch, x_BTD in self._streams(layer, tokens, packed, streams):
            x_BTD = self._through(
                params,
                x_BTD,
                _inputs(batch),
                facts,
                stack=self._weights.stack_of(layer),
                reach=batch.reach,
                block=self._kernels["query_block"],
                platform=self._kernels["platform"],
            )
            file.write(np.asarray(x_BTD).tobytes())

    def _streams(
        self, layer: int, tokens: Tokens, packed: BatchPlan, streams: Path
    ) -> Iterator[tuple[Batch, jax.Array]]:
        """The residual streams before a layer, batch after batch."""
        if layer == 0:
            for batch in batches(tokens, packed):
                yield batch, self._start(self._ends, _inputs(batch))
            return
        with _file(streams, layer).open("rb") as file:
            for batch in batches(tokens, packed):
                shape = jax.eval_shape(self._start, self._ends, _inputs(batch))
                count = shape.size * shape.dtype.itemsize
                x_BTD = np.frombuffer(file.read(count), shape.dtype).reshape(shape.shape)
                yield batch, jnp.asarray(x_BTD)

    def log_likelihoods(self, tokens: Tokens, packed: BatchPlan, streams: Path) -> np.ndarray:
        """The log-probability of each scored token of all texts, nats, float32 [M]."""
        read = jax.jit(
            self._in_precision(
                lambda _, unembedding, states_NE, target_N: readout.read(
                    states_NE,
                    unembedding,
                    target_N,
                    DEFAULT,
                    block=self._kernels["vocabulary_block"],
                    platform=self._kernels["platform"],
                )
            )
        )
        results = Results(chosen(DEFAULT), True, tokens, 1)
        for batch, states_BTE in self.states(tokens, packed, streams):
            states_NE = states_BTE.reshape(-1, states_BTE.shape[-1])
            found = read(self._ends, self.unembedding, states_NE, batch.target_BT.reshape(-1))
            shape = 1, *batch.target_BT.shape
            results.add(batch, {name: np.asarray(x).reshape(shape) for name, x in found.items()})
        results.check_finite(self._dtype)
        return results.scores(one_row=True).per_token["log_likelihood"]


def _through(
    decoder: Decoder,
    x_BTD: jax.Array,
    inputs: Inputs,
    facts: LayerFacts,
    *,
    stack: int,
    reach: int,
    block: int,
    platform: str,
) -> jax.Array:
    return decoder.residual_through(
        stack, x_BTD, inputs, facts, reach=reach, block=block, platform=platform
    )


def _inputs(batch: Batch) -> Inputs:
    return Inputs(
        *map(jnp.asarray, (batch.ids_BT, batch.segment_BT, batch.position_BT, batch.length_BT))
    )


def _file(streams: Path, layer: int) -> Path:
    return streams.with_name(f"{streams.name}.layer{layer}")

"""The function that is compiled: a model and a batch of packed texts to statistics of each token.

Letters: B rows, T tokens of a row, R what is read: 1, or with the lens L + 1 layers.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, PartitionSpec

from jaxmap.engine import readout
from jaxmap.engine.readout import Unembedding
from jaxmap.engine.translators import Translators, translated
from jaxmap.model.decoder import Decoder
from jaxmap.model.encodings.int8 import texts_apart
from jaxmap.model.inputs import Inputs
from jaxmap.model.layers.linear import computing_in
from jaxmap.model.mesh import ROWS, axes_of, gathered_ends, manual

Statistics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Forward:
    """How a model of one architecture is run; called with its parameters and a batch.

    Fields:
      graph: the structure of the model.
      vocabulary_block: vocabulary entries that the readout takes at a time.
      query_block: queries that attention takes at a time.
      dtype: what is computed in, a name in PRECISIONS.
      mesh: the devices that share the model and the batch; None: one device.
    """

    graph: nnx.GraphDef
    vocabulary_block: int
    query_block: int
    dtype: str
    mesh: Mesh | None

    def __call__(
        self,
        params: nnx.State,
        inputs: Inputs,
        target_BT: jax.Array,
        translators: Translators | None,
        *,
        reach: int,
        lens: bool,
        statistics: tuple[str, ...],
    ) -> Statistics:
        """[R, B, T] of each statistic, by name; meaningless at padding.

        Args:
          params: of the model.
          inputs, target_BT: the batch, and the token after each of its tokens.
          translators: what each layer's state goes through before it is read; None: nothing.
          reach: tokens of the longest text of the batch, or more.
          lens: whether every layer is read.
          statistics: names in STATISTICS.
        """
        run = partial(self._run, reach=reach, lens=lens, statistics=statistics)
        if self.mesh is None:
            return run(params, inputs, target_BT, translators)
        spec = nnx.merge(self.graph, params).spec
        rows, everywhere = PartitionSpec(ROWS), PartitionSpec()
        return jax.shard_map(
            run,
            mesh=self.mesh,
            in_specs=(manual(params, spec, axes_of(self.mesh)), rows, rows, everywhere),
            out_specs=PartitionSpec(None, ROWS),
            axis_names=set(ROWS),
            check_vma=False,
        )(params, inputs, target_BT, translators)

    def _run(
        self,
        params: nnx.State,
        inputs: Inputs,
        target_BT: jax.Array,
        translators: Translators | None,
        *,
        reach: int,
        lens: bool,
        statistics: tuple[str, ...],
    ) -> Statistics:
        decoder: Decoder = nnx.merge(self.graph, params)
        if self.mesh is not None:
            decoder = nnx.merge(self.graph, gathered_ends(params, decoder.spec))

        def read(x_BTD: jax.Array, translator: Translators | None = None) -> Statistics:
            if translator is not None:
                x_BTD = translated(x_BTD, translator)
            return self._read(decoder, x_BTD, target_BT, statistics)

        with texts_apart(inputs), computing_in(self.dtype):
            x_BTD, by_layer = decoder.residual(
                inputs,
                reach=reach,
                block=self.query_block,
                read=read if lens else None,
                beside=translators,
            )
            output = jax.tree.map(lambda value_BT: value_BT[None], read(x_BTD))
        if not lens:
            return output
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), by_layer, output)

    def _read(
        self, decoder: Decoder, x_BTD: jax.Array, target_BT: jax.Array, statistics: tuple[str, ...]
    ) -> Statistics:
        """Statistics of each token, [B, T], of a state of the residual stream."""
        hidden_BTE = decoder.unembedded(x_BTD)
        found = readout.read(
            hidden_BTE.reshape(-1, hidden_BTE.shape[-1]),
            unembedding_of(decoder),
            target_BT.reshape(-1),
            statistics,
            block=self.vocabulary_block,
        )
        return {name: value_N.reshape(target_BT.shape) for name, value_N in found.items()}


def unembedding_of(decoder: Any) -> Unembedding:
    """What turns a decoder's final hidden states into logits."""
    spec = decoder.spec
    return Unembedding(
        decoder.head_VE,
        None if decoder.head_bias is None else decoder.head_bias[...],
        decoder.adjusted,
        spec.V if spec.held_V else None,
    )

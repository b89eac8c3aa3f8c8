"""The functions that are compiled: a model and a batch of packed texts to statistics of each token.

Letters: B rows, T tokens of a row, R what is read: 1, or with the lens L + 1 layers.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, PartitionSpec

from jaxmap.engine import readout
from jaxmap.engine.statistics import chosen
from jaxmap.engine.translators import Translators, translated
from jaxmap.engine.unembedding import Reference, Unembedding, final_states
from jaxmap.model.decoder import Decoder
from jaxmap.model.inputs import Inputs
from jaxmap.model.layers.linear import computing_in
from jaxmap.model.mesh import ROWS, axes_of, gathered_ends, manual

Statistics = dict[str, jax.Array]
_CUT, _WHOLE = PartitionSpec(ROWS), PartitionSpec()  # rows over devices; the same on all


@dataclasses.dataclass(frozen=True)
class Forward:
    """How a model of one architecture is run.

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

    def statistics(
        self,
        params: nnx.State,
        inputs: Inputs,
        target_BT: jax.Array,
        translators: Translators | None,
        reference: Reference | None,
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
          reference: what the model is compared with, its states [B, T, E] (see `states`); None: the
            layers of the lens are compared with the model's own output.
          reach: tokens of the longest text of the batch, or more.
          lens: whether every layer is read.
          statistics: names in STATISTICS.
        """
        run = partial(self._statistics, reach=reach, lens=lens, names=statistics)
        of_reference: Any = reference and Reference(_CUT, _WHOLE)  # type: ignore[arg-type]
        in_specs = (_CUT, _CUT, _WHOLE, of_reference)
        given = (inputs, target_BT, translators, reference)
        return self._on_mesh(run, params, given, in_specs, PartitionSpec(None, ROWS))

    def states(self, params: nnx.State, inputs: Inputs, *, reach: int) -> jax.Array:
        """What the unembedding is multiplied with, the final hidden states [B, T, E] of a batch."""

        def run(decoder: Decoder, inputs: Inputs) -> jax.Array:
            x_BTD, _ = decoder.residual(inputs, reach=reach, block=self.query_block)
            return decoder.unembedded(x_BTD, inputs)

        return self._on_mesh(run, params, (inputs,), (_CUT,), _CUT)

    def unembedding(self, params: nnx.State) -> Unembedding:
        """What makes logits of `states`."""
        return self._on_mesh(Unembedding.of, params, (), (), _WHOLE)

    def _on_mesh(
        self,
        run: Callable[..., Any],
        params: nnx.State,
        given: tuple,
        in_specs: tuple,
        out_specs: Any,
    ) -> Any:
        """`run` of the decoder and what is given, on the devices that share them."""

        def with_decoder(params: nnx.State, *given: Any) -> Any:
            decoder: Decoder = nnx.merge(self.graph, params)
            if self.mesh is not None:
                decoder = nnx.merge(self.graph, gathered_ends(params, decoder.spec))
            with computing_in(self.dtype):
                return run(decoder, *given)

        if self.mesh is None:
            return with_decoder(params, *given)
        spec = nnx.merge(self.graph, params).spec
        return jax.shard_map(
            with_decoder,
            mesh=self.mesh,
            in_specs=(manual(params, spec, axes_of(self.mesh)), *in_specs),
            out_specs=out_specs,
            axis_names=set(ROWS),
            check_vma=False,
        )(params, *given)

    def _statistics(
        self,
        decoder: Decoder,
        inputs: Inputs,
        target_BT: jax.Array,
        translators: Translators | None,
        reference: Reference | None,
        *,
        reach: int,
        lens: bool,
        names: tuple[str, ...],
    ) -> Statistics:
        unembedding = Unembedding.of(decoder)
        residual = partial(decoder.residual, inputs, reach=reach, block=self.query_block)
        if reference is not None:
            E = reference.states.shape[-1]
            reference = dataclasses.replace(reference, states=reference.states.reshape(-1, E))
        elif lens and any(statistic.needs_reference for statistic in chosen(names)):
            # The output is known last: layers are computed once more, to be compared with it.
            x_BTD, _ = residual()
            reference = Reference(final_states(decoder, x_BTD, inputs), unembedding)

        def read(x_BTD: jax.Array, translator: Translators | None = None) -> Statistics:
            if translator is not None:
                x_BTD = translated(x_BTD, translator)
            found = readout.read(
                final_states(decoder, x_BTD, inputs),
                unembedding,
                target_BT.reshape(-1),
                names,
                block=self.vocabulary_block,
                reference=reference,
            )
            return {name: value_N.reshape(target_BT.shape) for name, value_N in found.items()}

        x_BTD, by_layer = residual(read=read if lens else None, beside=translators)
        output = jax.tree.map(lambda value_BT: value_BT[None], read(x_BTD))
        if not lens:
            return output
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), by_layer, output)

"""The functions that are compiled: from a model and packed texts to statistics of each token.

In array names, B is rows, T the tokens of a row, R the layers that are read: 1, or L + 1 with the
lens.
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
_CUT, _WHOLE = PartitionSpec(ROWS), PartitionSpec()  # rows divided among devices; a copy on each


@dataclasses.dataclass(frozen=True)
class Forward:
    """The forward pass of models of one architecture.

    Fields:
      graph: the structure of the model.
      vocabulary_block: the number of vocabulary entries that the readout computes at a time.
      query_block: the number of queries that attention computes at a time.
      dtype: the precision of the arithmetic, a key of PRECISIONS.
      mesh: the devices among which model and batch are divided; None: one device.
      platform: the platform whose kernels are used where they can be, see `Geometry`.
    """

    graph: nnx.GraphDef
    vocabulary_block: int
    query_block: int
    dtype: str
    mesh: Mesh | None
    platform: str = ""

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
        """The statistics by name, each [R, B, T]; their values at padding are meaningless.

        Args:
          params: the parameters of the model.
          inputs, target_BT: the batch, and the id of the token after each token.
          translators: the maps of a tuned lens, applied to each layer's state before it is read;
            None: no maps.
          reference: the reference model's states [B, T, E] (see `states`) and unembedding; None:
            the layers of a lens are compared with the model's own output.
          reach: an upper bound on the number of tokens of a text.
          lens: whether every layer is read.
          statistics: names in STATISTICS.
        """
        run = partial(self._statistics, reach=reach, lens=lens, names=statistics)
        of_reference: Any = reference and Reference(_CUT, _WHOLE)  # type: ignore[arg-type]
        in_specs = (_CUT, _CUT, _WHOLE, of_reference)
        given = (inputs, target_BT, translators, reference)
        return self._on_mesh(run, params, given, in_specs, PartitionSpec(None, ROWS))

    def states(self, params: nnx.State, inputs: Inputs, *, reach: int) -> jax.Array:
        """The final hidden states of a batch, which the unembedding multiplies, [B, T, E]."""

        def run(decoder: Decoder, inputs: Inputs) -> jax.Array:
            x_BTD, _ = self._residual(decoder, inputs, reach)()
            return decoder.unembedded(x_BTD, inputs)

        return self._on_mesh(run, params, (inputs,), (_CUT,), _CUT)

    def unembedding(self, params: nnx.State) -> Unembedding:
        """The map from `states` to logits."""
        return self._on_mesh(Unembedding.of, params, (), (), _WHOLE)

    def _residual(self, decoder: Decoder, inputs: Inputs, reach: int) -> Callable[..., Any]:
        return partial(
            decoder.residual,
            inputs,
            reach=reach,
            block=self.query_block,
            platform=self.platform,
            adaptive=self.mesh is None and not self.platform,
        )

    def _on_mesh(
        self,
        run: Callable[..., Any],
        params: nnx.State,
        given: tuple,
        in_specs: tuple,
        out_specs: Any,
    ) -> Any:
        """Calls `run(decoder, *given)` on the devices of the mesh."""

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
        residual = self._residual(decoder, inputs, reach)
        if reference is not None:
            E = reference.states.shape[-1]
            reference = dataclasses.replace(reference, states=reference.states.reshape(-1, E))
        elif lens and any(statistic.needs_reference for statistic in chosen(names)):
            # The output is known last, so the layers are computed twice to be compared with it.
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
                platform=self.platform,
            )
            shape = target_BT.shape
            return {name: value.reshape(shape + value.shape[1:]) for name, value in found.items()}

        x_BTD, by_layer = residual(read=read if lens else None, beside=translators)
        output = jax.tree.map(lambda value_BT: value_BT[None], read(x_BTD))
        if not lens:
            return output
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), by_layer, output)

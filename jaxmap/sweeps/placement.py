"""The mesh and the batch of each checkpoint of a run, as its settings say or as memory allows."""

from __future__ import annotations

from flax import nnx
from jax.sharding import Mesh

from jaxmap.checkpoint import weights
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.batch_size import largest_batch
from jaxmap.engine.device_memory import OnDevices
from jaxmap.engine.placement import mesh_for
from jaxmap.model.mesh import Axes
from jaxmap.model.padding import padded_spec
from jaxmap.model.spec import Spec
from jaxmap.sweeps.settings import Settings


class Placement:
    """Finds meshes and batches; a batch is found once for all checkpoints of an architecture.

    Args:
      settings: how every checkpoint is scored.
    """

    def __init__(self, settings: Settings):
        self.settings = settings
        self._largest: dict[tuple, int] = {}  # tokens of the largest batch that fits in memory

    def mesh(self, spec: Spec, dtype: str, on_devices: OnDevices) -> Mesh | None:
        """The mesh of a checkpoint; None for one device.

        Args:
          spec: the spec of the checkpoint.
          dtype: the precision.
          on_devices: the arrays in memory, see `mesh_for`.
        """
        settings = self.settings
        return mesh_for(
            settings.mesh,
            spec,
            dtype,
            batch_tokens=settings.batch_tokens,
            lens=settings.lens or bool(settings.tuned_lens),
            on_devices=on_devices,
        )

    def batch_tokens(self, model: weights.Model, tokens: Tokens, lens: bool) -> int | None:
        """The tokens of a batch; None: as many as `score_rows` takes by default.

        Args:
          model: the model, of which the shapes suffice.
          tokens: the ids of the text set, which bound the batch.
          lens: whether every layer is scored.
        """
        if not self.settings.batch:
            return self.settings.batch_tokens
        key = (model.graph, model.dtype, model.mesh, lens)
        if key not in self._largest:

            def on_devices(axes: Axes) -> tuple[nnx.GraphDef, nnx.State, Spec]:
                return model.graph, model.params, padded_spec(model.spec, axes)

            self._largest[key] = largest_batch(
                model.spec,
                model.dtype,
                model.mesh,
                weights=model.stored_dtype,
                lens=lens,
                most=len(tokens.ids),
                on_devices=on_devices,
            )
        return self._largest[key]

"""`CheckpointScorer` for the engine torch: transformers' models, on one device of one process."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.sources.types import CheckpointFiles
from jaxmap.checkpoint.storage import Storage
from jaxmap.engine.callbacks import SILENT, Callbacks
from jaxmap.engine.scores import Scores
from jaxmap.store.requests import Item
from jaxmap.store.statistics import scored_as
from jaxmap.sweeps.checkpoint_scorer import CheckpointScorer
from jaxmap.sweeps.loaded_checkpoint import LoadedCheckpoint, ModelFacts, log_texts

if TYPE_CHECKING:
    from jaxmap.pytorch.loading import TorchModel


class TorchScorer(CheckpointScorer):
    """Loads checkpoints by transformers and scores them with PyTorch."""

    def load_part(
        self,
        files: CheckpointFiles,
        take: weights.Take | None = None,
        items: Sequence[Item] = (),
    ) -> LoadedCheckpoint:
        """Loads the checkpoint with transformers; `items` is not used."""
        from jaxmap.pytorch.loading import context_of, load

        checkpoint = self.checkpoint(files)
        context = context_of(checkpoint)
        texts = self._tokenised.read_by(files.folder, context)
        model = load(checkpoint, self.settings.dtype)
        self._log_device(model.dtype)
        log_texts(files, texts.tokens, context)
        return LoadedCheckpoint(files, model, texts)

    def score_part(
        self,
        loaded: LoadedCheckpoint[TorchModel],
        item: Item,
        order: int = 0,
        *,
        callbacks: Callbacks = SILENT,
        desc: str = "score",
    ) -> tuple[Scores, Storage]:
        """The scores of an item and the storage of its weights; `order` is not used."""
        from jaxmap.pytorch.quantize import quantised
        from jaxmap.pytorch.scores import score_texts

        statistics, per_token = scored_as(item.statistics)
        with quantised(loaded.model, item.variant.quantisation) as (model, places):
            scores = score_texts(
                model,
                loaded.texts.tokens,
                statistics=statistics,
                per_token=per_token,
                lens=bool(item.variant.lens),
                batch_tokens=self.settings.batch_tokens,
                places=places,
                desc=desc,
                callbacks=callbacks,
            )
        per_text = {name: np.atleast_2d(array) for name, array in scores.items()}
        tokens_of = {name: np.atleast_2d(array) for name, array in scores.per_token.items()}
        return Scores(per_text, tokens_of, scores.offsets_N1), model.storage

    def device(self) -> str:
        """The name of the device that PyTorch uses."""
        from jaxmap.pytorch.loading import device_name

        return device_name()

    def versions(self) -> dict[str, str]:
        """The versions that a record names, torch's among them."""
        return super().versions() | {"torch": importlib.metadata.version("torch")}

    def default_dtype(self, model: ModelFacts) -> str:
        """float32, whatever the weights on disk."""
        from jaxmap.pytorch.loading import DTYPES

        return DTYPES[0]

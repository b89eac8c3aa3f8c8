"""Scores of a checkpoint by transformers on PyTorch: one text per forward pass, every layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.pytorch.loading import from_folder, import_torch
from jaxmap.pytorch.structure import Structure


class TransformersModel:
    """transformers' model of a checkpoint folder, on the CPU.

    Its attention is scaled_dot_product_attention, or eager where the class has no other. Code of
    the checkpoint's repository is never run.
    """

    def __init__(self, folder: Path, precision: str):
        """Loads the model in `precision`, "float32" or "float64".

        Raises InputError where PyTorch is not installed or transformers cannot read the folder.
        """
        torch = import_torch()

        # Read in float32 and widened: rounding happens once, when the file is read.
        self._model, _ = from_folder(folder, "float32")
        self._model.to(getattr(torch, precision))
        self._structure = Structure(self._model, str(folder))

    def score(self, ids_T: np.ndarray, first: int) -> float:
        """Sum of log p(id | earlier ids) over ids[first:] in nats, log-softmax in float64."""
        import torch

        if len(ids_T) <= first:
            return 0.0
        with torch.inference_mode():
            logits_TV = self._model(_batch_of_one(ids_T)).logits[0]
        return float(_log_likelihoods(logits_TV[None], ids_T, first)[0])

    def score_layers(self, ids_T: np.ndarray, first: int) -> np.ndarray:
        """The same of every layer through the logit lens, embedding to output, float64 [L + 1].

        The state before block i is put in the place of what the last block gives, so that the
        model itself does to it whatever it does after its last block; see `Structure`. The output
        is the model's own, from a forward pass without any of that.
        """
        import torch

        if len(ids_T) <= first:
            return np.zeros(len(self._structure.blocks) + 1)
        with torch.inference_mode():
            layers = [
                float(_log_likelihoods(self._structure.logits_of(state[0])[None], ids_T, first)[0])
                for state in self._structure.layer_states(_batch_of_one(ids_T))
            ]
        return np.array([*layers[:-1], self.score(ids_T, first)])


def _batch_of_one(ids_T: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(np.asarray(ids_T, np.int64))[None]


def _log_likelihoods(logits_RTV: Any, ids_T: np.ndarray, first: int) -> np.ndarray:
    """Sums over ids[first:] of what each of R logits gives them, float64 [R]."""
    import torch

    first = max(first, 1)
    targets_M = torch.from_numpy(np.asarray(ids_T[first:], np.int64))
    logp_RMV = logits_RTV[:, first - 1 : -1].double().log_softmax(-1)
    logp_RM = logp_RMV.gather(-1, targets_M.expand(len(logp_RMV), -1)[..., None])[..., 0]
    return logp_RM.sum(-1).numpy()

"""Scores of a checkpoint by transformers on PyTorch: one text per forward pass, every layer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.checkpoint.formats import GGUF, weights_of
from jaxmap.errors import InputError

_NEEDED = "needs PyTorch: pip install torch"


def _file_of(folder: Path) -> dict[str, str]:
    """What transformers is told of a folder whose weights are a GGUF, which it reads by itself."""
    found, chosen = weights_of(folder)
    return {"gguf_file": chosen} if found is GGUF else {}


class Reference:
    """transformers' model of a checkpoint folder.

    Its attention is scaled_dot_product_attention, or eager where the class has no other. Code of
    the checkpoint's repository is never run.
    """

    def __init__(self, folder: Path, precision: str):
        """Loads the model in `precision`, "float32" or "float64".

        Raises InputError where PyTorch is not installed or transformers cannot read the folder.
        """
        try:
            import torch
            import transformers
        except ImportError:
            raise InputError(_NEEDED) from None
        before = transformers.logging.get_verbosity()
        transformers.logging.set_verbosity_error()
        transformers.logging.disable_progress_bar()
        try:
            # Read in float32 and widened: rounding happens once, when the file is read.
            self._model: Any = transformers.AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32,
                trust_remote_code=False,
                local_files_only=True,
                **_file_of(folder),
            )
        except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{folder}: transformers cannot load it: {reason}") from error
        finally:
            transformers.logging.set_verbosity(before)
        self._model.eval().to(getattr(torch, precision))

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
        model itself does to it whatever it does after its last block.
        """
        import torch

        blocks = self._blocks()
        if len(ids_T) <= first:
            return np.zeros(len(blocks) + 1)
        states: list[Any] = []

        def before(module: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
            state = args[0] if args else kwargs["hidden_states"]
            if hasattr(module, "pre_ln"):  # RWKV's norm of the embedding, inside its first block
                state = module.pre_ln(state)
            states.append(state)

        hooks = [block.register_forward_pre_hook(before, with_kwargs=True) for block in blocks]
        scores: list[float] = []
        try:
            with torch.inference_mode():
                logits_TV = self._model(_batch_of_one(ids_T)).logits[0]
                for state in list(states):
                    with _output_of(blocks[-1], state):
                        read_TV = self._model(_batch_of_one(ids_T)).logits[0]
                    scores.append(float(_log_likelihoods(read_TV[None], ids_T, first)[0]))
        finally:
            for hook in hooks:
                hook.remove()
        scores.append(float(_log_likelihoods(logits_TV[None], ids_T, first)[0]))
        return np.array(scores)

    def _blocks(self) -> Any:
        import torch

        count = self._model.config.get_text_config().num_hidden_layers
        found = (m for m in self._model.modules() if isinstance(m, torch.nn.ModuleList))
        return next(blocks for blocks in found if len(blocks) == count)


class _output_of:
    """Replaces what a module gives by a state, while the context lasts."""

    def __init__(self, module: Any, state: Any):
        def after(module: Any, args: Any, output: Any) -> Any:
            return state if not isinstance(output, tuple) else (state, *output[1:])

        self._hook = module.register_forward_hook(after)

    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        self._hook.remove()


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

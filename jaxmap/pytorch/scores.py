"""Statistics per text by a transformers model: texts by length, logits in blocks of tokens.

In array names B is rows, one text each, T places, M scored tokens, V the vocabulary, R the layers
that are read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any

import numpy as np

from jaxmap.corpus.batches import Batch, plan_by_length
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.callbacks import SILENT, Callbacks
from jaxmap.engine.scores import Results, Scores, check_ids, score_batches
from jaxmap.engine.statistics import DEFAULT, chosen
from jaxmap.errors import InputError
from jaxmap.pytorch.loading import TorchModel
from jaxmap.pytorch.quantize import Places

_BLOCK = 1 << 24  # numbers of an array [tokens, vocabulary], at most, whatever the batch
_BATCH_TOKENS = {"cpu": 1024, "cuda": 8192}


def score_texts(
    model: TorchModel,
    tokens: Tokens,
    *,
    statistics: Collection[str] = DEFAULT,
    per_token: bool | Collection[str] = False,
    lens: bool = False,
    batch_tokens: int | None = None,
    block: int = _BLOCK,
    places: Places | None = None,
    desc: str = "score",
    callbacks: Callbacks = SILENT,
) -> Scores:
    """Computes statistics of each text, with a progress bar, as `engine.scores.score_rows` does.

    Rows of a batch are texts of about one length, padded on the right, where a causal model's
    earlier tokens do not see it. Texts are batched with their equals only if the length of a batch
    enters a model's numbers. Softmax and sums over the vocabulary are float32.

    Args:
      model: the model.
      tokens: the text set, cut to the model's context.
      statistics: names of which this engine has a formula: log_likelihood, entropy.
      per_token: names of statistics that are returned for every scored token as well; True: all.
      lens: whether to read every layer through the model's own norm and head.
      batch_tokens: places per batch; None: a default for the device.
      block: the most numbers of an array [tokens, vocabulary].
      places: of a copy in 8 bit: receives which positions of a batch belong to a text.
      desc, callbacks: see `score_rows`.

    Raises:
      InputError: when an id is outside the vocabulary, a score is not finite, or the lens does
        not fit the model's structure.
      Stopped: when `callbacks.stop` returned true.
    """
    import torch

    names = tuple(statistics)
    for name in names:
        if name not in _FORMULAS:
            known = ", ".join(_FORMULAS)
            raise InputError(
                f"{name!r} is not computed by `engine=torch`, only {known}", field="statistics"
            )
    check_ids(tokens, model.vocabulary, "model")
    rows = 1
    if lens:
        rows = len(model.structure.blocks) + 1
    results = Results(chosen(names), per_token, tokens, rows)
    packed = plan_by_length(
        tokens,
        batch_tokens=batch_tokens or _BATCH_TOKENS[model.device.type],
        equal=model.structure.length_matters,
    )

    def score(batch: Batch) -> dict[str, np.ndarray]:
        own_BT = torch.from_numpy(batch.segment_BT > 0).to(model.device)
        if places is not None:
            places.own_BT = own_BT
        found = {name: np.zeros((rows, *batch.ids_BT.shape), np.float32) for name in names}
        scored_BT = _scored(batch)
        target_M = torch.from_numpy(batch.target_BT[scored_BT]).long().to(model.device)
        with torch.inference_mode(), _full_precision(torch):
            for row, state_MD in enumerate(_states(model, batch, scored_BT, lens)):
                for name, value_M in _read(model, state_MD, target_M, names, block).items():
                    found[name][row][scored_BT] = value_M
        return found

    score_batches(tokens, packed, results, score, desc=desc, callbacks=callbacks)
    results.check_finite(model.dtype)
    return results.scores(one_row=not lens)


def _scored(batch: Batch) -> np.ndarray:
    """Which entries of a batch predict a scored id, bool [B, T]."""
    column_T = np.arange(batch.ids_BT.shape[1])
    scored_BT = np.zeros(batch.ids_BT.shape, bool)
    for row, first, stop in zip(batch.row, batch.first, batch.stop, strict=True):
        scored_BT[row] = (column_T >= first) & (column_T < stop)
    return scored_BT


def _states(model: TorchModel, batch: Batch, scored_BT: np.ndarray, lens: bool) -> Iterator[Any]:
    """What the head reads of the scored tokens, [M, D], of each layer or of the output alone."""
    import torch

    ids_BT = torch.from_numpy(batch.ids_BT).long()
    if model.structure.length_matters:
        # The last id too, which only is a target: it counts as a part of the text's length.
        last_B1 = torch.from_numpy(batch.target_BT[:, -1:]).long()
        ids_BT = torch.cat([ids_BT, last_B1], 1)
    ids_BT = ids_BT.to(model.device)
    keep_BT = torch.from_numpy(scored_BT).to(model.device)
    T = scored_BT.shape[1]
    found = model.structure.layer_states(ids_BT) if lens else [model.structure.states(ids_BT)]
    for state_BTD in found:
        yield state_BTD[:, :T][keep_BT]


def _read(
    model: TorchModel, state_MD: Any, target_M: Any, names: Collection[str], block: int
) -> dict[str, np.ndarray]:
    """Statistics of each token, float32 [M], with logits for a block of tokens at a time."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in names}
    step = max(1, block // model.vocabulary)
    for start in range(0, len(target_M), step):
        part = slice(start, start + step)
        logits_mV = model.structure.logits_of(state_MD[part]).float()
        max_m = logits_mV.amax(-1)
        centred_mV = logits_mV.sub_(max_m[:, None])
        target_m = centred_mV.gather(-1, target_M[part, None])[:, 0]
        for name in names:
            found[name].append(_FORMULAS[name](centred_mV, target_m).cpu().numpy())
    empty = np.zeros(0, np.float32)
    return {name: np.concatenate([*parts, empty]) for name, parts in found.items()}


def _log_likelihood(centred_mV: Any, target_m: Any) -> Any:
    return target_m - centred_mV.exp().sum(-1).log()


def _entropy(centred_mV: Any, target_m: Any) -> Any:
    """-sum p log p with p = e / S: log S - sum(e x) / S, where x is a logit less the largest."""
    e_mV = centred_mV.exp()
    sum_m = e_mV.sum(-1)
    # A logit of -inf has p = 0 and adds nothing.
    terms_mV = e_mV.mul_(centred_mV.clamp(min=-1e30))
    return sum_m.log() - terms_mV.sum(-1) / sum_m


# From logits less the largest of each token, [m, V], and the target's, [m].
_FORMULAS: dict[str, Callable[[Any, Any], Any]] = {
    "log_likelihood": _log_likelihood,
    "entropy": _entropy,
}


class _full_precision:
    """Turns off TF32 in convolutions, which PyTorch turns on, while the context lasts."""

    def __init__(self, torch: Any):
        self._settings = torch.backends.cudnn

    def __enter__(self) -> None:
        self._before = self._settings.allow_tf32
        self._settings.allow_tf32 = False

    def __exit__(self, *error: object) -> None:
        self._settings.allow_tf32 = self._before

"""From a model and a text set to statistics per text: batches are scored one after another.

In array names, N is texts, M the scored tokens of all texts, P the texts of a batch, R the layers
that are read: the model's output alone, or L + 1 layers with the lens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np

from jaxmap.checkpoint.weights import Model
from jaxmap.corpus.batches import Batch, BatchPlan, batches
from jaxmap.corpus.tokens import Tokens
from jaxmap.engine.callbacks import SILENT, Callbacks, Stopped
from jaxmap.engine.reference import AnyReference
from jaxmap.engine.scorer import Lens, Scorer
from jaxmap.engine.statistics import DEFAULT, Statistic, chosen
from jaxmap.errors import InputError
from jaxmap.progress import progress

# How many batches are dispatched before the first result is awaited. Only one on a CPU, where
# batches would compete for the cores and each would need memory of its own.
_IN_FLIGHT = {"cpu": 0, "gpu": 2, "tpu": 2}


class Scores(dict[str, np.ndarray]):
    """Statistics per text by name: float64 [N], or [L + 1, N] with the lens.

    Fields:
      per_token: statistics per scored token by name, [M] or [L + 1, M], in the dtype of each.
      offsets_N1: int64 [N + 1]; the scored tokens of text n are entries offsets_N1[n] to
        offsets_N1[n + 1] - 1.
    """

    def __init__(
        self,
        per_text: dict[str, np.ndarray],
        per_token: dict[str, np.ndarray],
        offsets_N1: np.ndarray,
    ):
        super().__init__(per_text)
        self.per_token = per_token
        self.offsets_N1 = offsets_N1


def compile_for(
    scorer: Scorer,
    model: Model,
    tokens: Tokens,
    *,
    lens: bool,
    batch_tokens: int | None,
    statistics: Collection[str] = DEFAULT,
) -> None:
    """Compiles the programs that `score_rows` needs; the model's parameters may be shapes."""
    packed = scorer.packed(tokens, batch_tokens, model.spec.D)
    names = tuple(statistics)
    for B, T, reach in packed.shapes:
        scorer.compile(model.params, B, T, reach, lens=lens, statistics=names)


def score_tokens(scorer: Scorer, model: Model, tokens: Tokens, **options: Any) -> np.ndarray:
    """The log-likelihood of each text in nats, float64 [N]; for options see `score_rows`."""
    return score_rows(scorer, model, tokens, **options)["log_likelihood"]


def score_rows(
    scorer: Scorer,
    model: Model,
    tokens: Tokens,
    *,
    statistics: Collection[str] = DEFAULT,
    per_token: bool | Collection[str] = False,
    reference: AnyReference | None = None,
    lens: Lens = False,
    batch_tokens: int | None = None,
    desc: str = "score",
    callbacks: Callbacks = SILENT,
) -> Scores:
    """Computes statistics of each text, with a progress bar.

    A text's log-likelihood is the float64 sum of the float32 log-probabilities of its own tokens.
    Other texts in its row or batch influence it only by rounding inside the model.

    Args:
      scorer: from `Scorers.of(model)`.
      model: the model.
      tokens: the text set, cut to the model's context.
      statistics: names in STATISTICS.
      per_token: names of statistics that are returned for every scored token as well; True: all.
      reference: the model to compare with, for statistics that need one. Without it, the layers of
        a lens are compared with the model's own output.
      lens: whether to read every layer, or the translators to read them with. The embedding is the
        first layer, the model's own output the last.
      batch_tokens: tokens per batch, or with a mesh per group of devices; None: the default for
        the device.
      desc: the label of the progress bar.
      callbacks: follow, interrupt and resume the run.

    Raises:
      InputError: when an id is outside the vocabulary, a text is longer than the decoder can
        score (`Spec.dense_up_to`) or a score is not finite.
      Stopped: when `callbacks.stop` returned true.
    """
    check_ids(tokens, model.spec.V, "model")
    check_lengths(tokens, model.spec.dense_up_to)
    if reference is not None:
        check_ids(tokens, reference.vocabulary, "reference")
    rows = 1 if lens is False else model.spec.L + 1
    results = Results(chosen(statistics), per_token, tokens, rows)
    packed = scorer.packed(tokens, batch_tokens, model.spec.D)
    names = tuple(statistics)

    def score(batch: Batch) -> dict[str, jax.Array]:
        return scorer.score_batch(
            model.params,
            batch,
            lens=lens,
            statistics=names,
            reference=None if reference is None else reference.read(batch),
        )

    in_flight = _IN_FLIGHT[jax.default_backend()]
    score_batches(tokens, packed, results, score, in_flight, desc=desc, callbacks=callbacks)
    results.check_finite(model.dtype)
    return results.scores(one_row=lens is False)


def score_batches(
    tokens: Tokens,
    packed: BatchPlan,
    results: Results,
    score: Callable[[Batch], Mapping[str, Any]],
    in_flight: int = 0,
    *,
    desc: str = "score",
    callbacks: Callbacks = SILENT,
) -> None:
    """Scores the batches of a plan one after another, with a progress bar.

    Args:
      tokens: the text set.
      packed: the plan of its batches.
      results: where the results are written.
      score: from a batch to arrays [R, B, T] by statistic; may return before they are computed.
      in_flight: how many batches are dispatched before the first result is awaited.
      desc, callbacks: see `score_rows`.

    Raises Stopped when `callbacks.stop` returned true.
    """
    done_B = np.zeros(packed.num_batches, bool)
    resumable = callbacks.resumable
    if resumable is not None:
        done_B = resumable.begin(packed, results.arrays)
    skip_B = callbacks.agree(done_B)
    waiting: deque[tuple[int, Batch, Mapping[str, Any]]] = deque()
    num_tokens = 0
    with progress(len(tokens), desc, "text") as bar:

        def collect() -> None:
            nonlocal num_tokens
            i, batch, found = waiting.popleft()
            results.add(batch, {name: np.asarray(value) for name, value in found.items()})
            num_tokens += batch.num_places
            if resumable is not None:
                resumable.note(i)
            bar.update(len(batch.text))
            callbacks.progress(int(bar.n), len(tokens))
            elapsed = bar.format_dict["elapsed"] or 1e-9
            bar.set_postfix_str(f"{num_tokens / elapsed:,.0f} tokens/s", refresh=False)

        stopped = False
        for i, batch in enumerate(batches(tokens, packed)):
            if skip_B[i]:
                bar.update(len(batch.text))
                continue
            if stopped := callbacks.stop():
                break
            waiting.append((i, batch, score(batch)))
            if len(waiting) > in_flight:
                collect()
        while waiting:
            collect()
        if stopped:
            if resumable is not None:
                resumable.save()
            raise Stopped
        bar.update(len(tokens) - bar.n)  # texts with nothing to score


def check_ids(tokens: Tokens, V: int, name: str) -> None:
    """Raises InputError if an id is outside a vocabulary of V entries."""
    if tokens.ids.size and (largest := int(tokens.ids.max())) >= V:
        raise InputError(
            f"the tokenizer gives id {largest}, but the {name}'s vocabulary has {V} "
            "entries: tokenizer and weights do not belong together"
        )


def check_lengths(tokens: Tokens, dense_up_to: int | None) -> None:
    """Raises InputError if a text has more tokens than `Spec.dense_up_to`."""
    if dense_up_to is None or not (long_N := tokens.lengths > dense_up_to).any():
        return
    first = int(np.argmax(long_N))
    raise InputError(
        f"{long_N.sum():,} of {len(tokens):,} texts are longer than {dense_up_to:,} tokens (text "
        f"{first}, from 0, has {tokens.lengths[first]:,}): in longer texts this model attends only "
        "to keys that an indexer chooses, which is not implemented; give shorter texts, or score "
        "all of them with `engine=torch`"
    )


class Results:
    """The arrays that the results of batches are written to.

    Fields:
      arrays: each statistic per text under its name, [R, N], and per token under "NAME.tokens",
        [R, M].
    """

    def __init__(
        self,
        statistics: tuple[Statistic, ...],
        per_token: bool | Collection[str],
        tokens: Tokens,
        rows: int,
    ):
        if isinstance(per_token, bool):
            per_token = {statistic.name for statistic in statistics} if per_token else ()
        names = [statistic.name for statistic in statistics]
        if missing := sorted(set(per_token) - set(names)):
            raise InputError(f"{missing} are not among the statistics {names}", field="per_token")
        self._per_text = [s for s in statistics if s.per_text != "none"]
        self._per_token = [s for s in statistics if s.name in per_token or s.per_text == "none"]
        self._scored_N = tokens.num_scored
        self._offsets_N1 = np.concatenate([[0], np.cumsum(self._scored_N, dtype=np.int64)])
        self.arrays = {s.name: np.zeros((rows, len(tokens))) for s in self._per_text}
        for s in self._per_token:
            wide = () if s.width == 1 else (s.width,)
            self.arrays[_of_tokens(s)] = np.zeros((rows, self._offsets_N1[-1], *wide), s.dtype)

    def add(self, batch: Batch, found: dict[str, np.ndarray]) -> None:
        """Writes a batch's statistics, [R, B, T] by name."""
        for statistic in self._per_text:
            array_RN = self.arrays[statistic.name]
            for value_N, value_BT in zip(array_RN, found[statistic.name], strict=True):
                value_P = _sums(batch, value_BT)
                if statistic.per_text == "mean":
                    value_P /= self._scored_N[batch.text]
                value_N[batch.text] = value_P
        if self._per_token:
            row, column = _scored_places(batch)
            place = _consecutive(self._offsets_N1[batch.text], batch.stop - batch.first)
            for statistic in self._per_token:
                self.arrays[_of_tokens(statistic)][:, place] = found[statistic.name][:, row, column]

    def check_finite(self, dtype: str) -> None:
        """Raises InputError if a statistic is NaN or infinite."""
        for statistic in self._per_text:
            bad_RN = ~np.isfinite(self.arrays[statistic.name])
            if bad_RN.any():
                row, text = (int(i) for i in np.argwhere(bad_RN)[0])
                layer = f" at layer {row}" if len(bad_RN) > 1 else ""
                raise InputError(
                    f"{bad_RN.any(0).sum()} of {bad_RN.shape[1]} scores are NaN or infinite "
                    f"(first: {statistic.name} of text {text}, from 0{layer})"
                    + ("; try `dtype=float32` or bfloat16" if dtype == "float16" else "")
                )

    def scores(self, *, one_row: bool) -> Scores:
        """The results; `one_row` drops the axis R, for the model's output alone."""

        def read(name: str) -> np.ndarray:
            return self.arrays[name][0] if one_row else self.arrays[name]

        return Scores(
            {s.name: read(s.name) for s in self._per_text},
            {s.name: read(_of_tokens(s)) for s in self._per_token},
            self._offsets_N1,
        )


def _of_tokens(statistic: Statistic) -> str:
    return f"{statistic.name}.tokens"


def _sums(batch: Batch, value_BT: np.ndarray) -> np.ndarray:
    """The sum of each text's scored tokens, float64 [P]."""
    T = value_BT.shape[1]
    flat = np.append(value_BT.astype(np.float64).reshape(-1), 0.0)
    bounds = np.stack([batch.row * T + batch.first, batch.row * T + batch.stop], axis=1)
    return np.add.reduceat(flat, bounds.reshape(-1))[::2]


def _scored_places(batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """The row and column of every scored token of a batch, text after text."""
    length_P = batch.stop - batch.first
    return np.repeat(batch.row, length_P), _consecutive(batch.first, length_P)


def _consecutive(start_P: np.ndarray, length_P: np.ndarray) -> np.ndarray:
    """The concatenation of the ranges start to start + length - 1."""
    ends_P = np.cumsum(length_P)
    return np.arange(ends_P[-1] if len(ends_P) else 0) + np.repeat(
        start_P - (ends_P - length_P), length_P
    )

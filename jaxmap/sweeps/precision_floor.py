"""Scores the same checkpoints in several precisions, which `analysis.floor` compares."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from jaxmap.checkpoint.refs import Ref
from jaxmap.corpus.texts import TextSet
from jaxmap.store import Store
from jaxmap.sweeps.outcome import Outcome
from jaxmap.sweeps.run import score_models
from jaxmap.sweeps.settings import PLAIN, Settings


def score_precisions(
    refs: Sequence[Ref],
    texts: TextSet,
    store: Store,
    dtypes: Sequence[str],
    settings: Settings = PLAIN,
    *,
    stop: Callable[[], bool] = lambda: False,
    command: str = "",
) -> Outcome:
    """Scores each checkpoint in each precision, one checkpoint after another.

    A checkpoint is fetched once and loaded for each precision. `settings` (except their dtype),
    `stop` and `command` are those of `score_models`, whose outcomes are joined.
    """
    total = Outcome()
    for ref in refs:
        for dtype in dtypes:
            asked = dataclasses.replace(settings, dtype=dtype)
            one = score_models([ref], texts, store, asked, stop=stop, command=command)
            for part in ("scored", "found", "failed", "unmeasured"):
                getattr(total, part).extend(getattr(one, part))
            if one.stopped:
                return dataclasses.replace(total, stopped=True)
    return total

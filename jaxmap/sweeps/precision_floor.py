"""The same checkpoints in several precisions, for `analysis.floor` to compare."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from jaxmap.checkpoint.refs import Ref
from jaxmap.corpus.texts import TextSet
from jaxmap.store import Store
from jaxmap.sweeps.run import Outcome, score_models


def score_precisions(
    refs: Sequence[Ref],
    texts: TextSet,
    store: Store,
    dtypes: Sequence[str],
    *,
    stop: Callable[[], bool] = lambda: False,
    **options: Any,
) -> Outcome:
    """Scores each checkpoint in each precision, one checkpoint after another.

    A checkpoint is fetched once and loaded for each precision. `stop` and the options are those of
    `score_models`, whose outcomes are joined.
    """
    total = Outcome()
    for ref in refs:
        for dtype in dtypes:
            one = score_models([ref], texts, store, dtype=dtype, stop=stop, **options)
            for part in ("scored", "found", "failed", "unmeasured"):
                getattr(total, part).extend(getattr(one, part))
            if one.stopped:
                return dataclasses.replace(total, stopped=True)
    return total

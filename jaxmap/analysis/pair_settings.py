"""The ten settings in which Kishino et al. (arXiv 2505.15353, fig. 3) measure KL, as pairs.

`run_pairs` finds those of the first four, about training runs, and `model_pairs` the others.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from jaxmap.analysis.notes import Note
from jaxmap.store.record import Entry

OF_RUNS = ("later", "early", "seed", "size")
OF_MODELS = ("8-bit", "4-bit", "ft", "intra-type", "random", "layer")
NAMES = (*OF_RUNS, *OF_MODELS)


@dataclass(frozen=True)
class Setting:
    """Pairs of results and their cleaned vectors; `reason` says why there are none.

    ll_KN: float64, nats; pairs_P2: rows of it; mean_bytes: of the texts that it is about.
    notes: what was chosen or left out on the way to the pairs.
    group: the results that were cleaned together; cleaned: whether they were at all, or are raw.
    """

    name: str
    entries: tuple[Entry, ...] = ()
    ll_KN: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    pairs_P2: np.ndarray = field(default_factory=lambda: np.empty((0, 2), np.int64))
    mean_bytes: float = float("nan")
    reason: str = ""
    notes: tuple[Note, ...] = ()
    group: str = ""
    cleaned: bool = True

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
    """The pairs of one setting and their cleaned vectors.

    Fields:
      name: the name of the setting.
      entries: the results, [K].
      ll_KN: their vectors in nats, float64.
      pairs_P2: pairs of rows.
      mean_bytes: the mean bytes of the texts that were kept.
      reason: why there are no pairs.
      notes: what was chosen or left out.
      group: a name for the results that were cleaned together.
      cleaned: whether they were cleaned, or are raw.
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

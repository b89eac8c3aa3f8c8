"""A store as the analyses read it: every part once, when it is first asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from jaxmap.analysis.pmi import QUANTITY
from jaxmap.analysis.pretraining import Pretraining, load_pretraining
from jaxmap.analysis.runs import single_models
from jaxmap.stats.clean import WARMUP, Cleaned, clean_map
from jaxmap.store import Store
from jaxmap.store.record import Entry


class Reading:
    """What several analyses of one store share, so that none of it is read or cleaned twice.

    It shows the store as it was when each part was first asked for. warmup: training steps.
    """

    def __init__(self, store: Store, warmup: int = WARMUP):
        self.store = store
        self.warmup = warmup
        self._totals: dict[Path, float] = {}
        self._cleaned: dict[tuple[Path, ...], Cleaned] = {}

    @cached_property
    def entries(self) -> list[Entry]:
        """`Store.records()`."""
        return self.store.records()

    @cached_property
    def has_losses(self) -> bool:
        """Whether the vectors are scores of texts; those of a PMI store are not."""
        return not any(e.provenance.model.get("quantity") == QUANTITY for e in self.entries)

    @cached_property
    def singles(self) -> list[Entry]:
        """The models that are no checkpoint of a run."""
        return single_models(self.entries)

    @cached_property
    def pretraining(self) -> Pretraining | None:
        """The training runs, cleaned; None where the store holds none."""
        return load_pretraining(self.store, self.warmup, self.entries, self.vectors)

    def vectors(self, entries: Iterable[Entry]) -> np.ndarray:
        """`Store.log_likelihoods`, float64 [K, N], nats; remembers the sum of each."""
        entries = list(entries)
        ll_KN = self.store.log_likelihoods(entries)
        totals = ll_KN.sum(axis=1).tolist()
        self._totals.update(zip((entry.path for entry in entries), totals, strict=True))
        return ll_KN

    def totals(self, entries: Sequence[Entry]) -> np.ndarray:
        """Uncleaned log-likelihood of all texts together, nats, [K]."""
        for entry in entries:
            if entry.path not in self._totals:
                self.vectors([entry])
        return np.array([self._totals[entry.path] for entry in entries])

    def cleaned(self, entries: Sequence[Entry]) -> Cleaned:
        """`clean_map` of the vectors of these entries, kept for who asks for the same again."""
        key = tuple(entry.path for entry in entries)
        if key not in self._cleaned:
            labels = [entry.label for entry in entries]
            self._cleaned[key] = clean_map(self.vectors(entries), labels)
        return self._cleaned[key]

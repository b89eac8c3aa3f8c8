"""The context of the analyses of a store: every part is read once, when it is first needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from jaxmap.analysis import genealogy
from jaxmap.analysis.notes import Note
from jaxmap.analysis.pretraining import Pretraining, load_pretraining
from jaxmap.analysis.published import Groups, clean_groups
from jaxmap.analysis.quantised_copies import Pair, bases_of, released_copies
from jaxmap.analysis.recipes import Recipe, recipe_of
from jaxmap.analysis.runs import single_models
from jaxmap.analysis.suspect_checkpoints import kinds_of
from jaxmap.analysis.timeline import on_timeline
from jaxmap.stats.clean import Cleaned, clean_map
from jaxmap.store import Store
from jaxmap.store.record import Entry
from jaxmap.store.released_data import Release, read_release
from jaxmap.store.statistics import LOG_LIKELIHOOD


class Context:
    """A store and how to read it; analyses share what is read and cleaned here.

    It shows each part of the store as it was when the part was first needed.

    Args:
      store: the store.
      warmup_steps: the number of training steps that count as warmup; None: see `warmup`.
      time: the axis of runs: "steps", "tokens" or "auto" (see `timeline`).
      leave_out: kinds of suspect checkpoints to leave out of runs (see the module `suspects`).
      stages: "apart", or "joined": a run that continues another is counted from its start.
      parents: a .json file of child -> parent that is used instead of model cards.
      ask: a function for the parents of a model, used instead of the Hub (`genealogy.parents_of`).
      recipe: how results are cleaned and pairs chosen: "jaxmap", "published", or "auto", which is
        the published recipe for a store that was imported from the authors' released data.
    """

    def __init__(
        self,
        store: Store,
        *,
        warmup_steps: int | None = None,
        time: str = "auto",
        stages: str = "apart",
        leave_out: Iterable[str] = (),
        parents: str | os.PathLike[str] | None = None,
        ask: Callable[[str], tuple[str, ...]] | None = None,
        recipe: str = "auto",
    ):
        self.store = store
        self.recipe: Recipe = recipe_of(recipe, store)
        self.leave_out = kinds_of(leave_out)
        self.warmup_steps, self.time, self.stages = warmup_steps, time, stages
        self.parents_file, self._ask = parents, ask
        self._totals: dict[Path, float] = {}
        self._cleaned: dict[tuple[Path, ...], Cleaned] = {}
        self._parents: genealogy.Parents = {}
        self._asked: set[str] = set()

    @property
    def mean_bytes(self) -> float:
        """The mean number of bytes of all texts."""
        return self.store.texts.mean_bytes

    @cached_property
    def entries(self) -> list[Entry]:
        """`Store.records()`."""
        return self.store.records()

    @cached_property
    def has_losses(self) -> bool:
        """Whether the vectors are log-likelihoods of texts; those of a PMI store are not."""
        return all(LOG_LIKELIHOOD in entry.statistics for entry in self.entries)

    @cached_property
    def singles(self) -> list[Entry]:
        """The models that are not checkpoints of a run."""
        return single_models(self.entries)

    @cached_property
    def release(self) -> Release | None:
        """The facts of the released data that the store was imported from; None for others."""
        return read_release(self.store.path)

    @cached_property
    def published_groups(self) -> Groups:
        """The runs as the published recipe cleans them, each group by itself."""
        return clean_groups(self.store, self.warmup_steps, self.entries, self.vectors)

    @cached_property
    def pretraining(self) -> Pretraining | None:
        """The training runs, cleaned together; None if the store has none.

        In the published recipe these are the five sizes and the seeds of Pythia.
        """
        if self.recipe == "published":
            group = self.published_groups.together
            return None if group is None else group.cleaned
        return load_pretraining(
            self.store, self.warmup_steps, self.entries, self.vectors, self.leave_out
        )

    @cached_property
    def _timed(self) -> tuple[Pretraining | None, tuple[Note, ...]]:
        pre = self.pretraining
        if pre is None or self.recipe == "published":
            return pre, ()
        return on_timeline(pre, self.store.names, self.time, self.stages)

    @property
    def timeline(self) -> Pretraining | None:
        """`pretraining` with the requested times and stages; the published recipe has steps only.

        Raises InputError if no run has these times.
        """
        return self._timed[0]

    @property
    def timeline_notes(self) -> tuple[Note, ...]:
        """Notes about what was left out of `timeline`."""
        return self._timed[1]

    def parents_of(self, models: Iterable[str]) -> genealogy.Parents:
        """Parents of models, from the file, the store, their cards or `ask`, each asked once."""
        models = list(dict.fromkeys(models))
        if new := [model for model in models if model not in self._asked]:
            recorded = {e.identity.ref: bases for e in self.entries if (bases := bases_of(e))}
            self._parents |= genealogy.parents_of(
                self.store.path, new, self.parents_file, self._ask, recorded
            )
            self._asked |= set(new)
        return {model: self._parents[model] for model in models if model in self._parents}

    @cached_property
    def copies(self) -> list[Pair]:
        """Released copies in fewer bits, each with its base: `released_copies`."""
        named = None if self.parents_file is None else genealogy.read_parents(self.parents_file)
        return released_copies(self.entries, named)

    def types_of(self, entries: Iterable[Entry]) -> dict[str, str]:
        """The type of each model, by name, if it is known."""
        return genealogy.types_of(self.store.path, entries)

    def vectors(self, entries: Iterable[Entry]) -> np.ndarray:
        """`Store.log_likelihoods`, float64 [K, N] in nats; keeps the sum of each vector."""
        entries = list(entries)
        ll_KN = self.store.log_likelihoods(entries)
        totals = ll_KN.sum(axis=1).tolist()
        self._totals.update(zip((entry.path for entry in entries), totals, strict=True))
        return ll_KN

    def bits_per_byte(self, entries: Sequence[Entry]) -> np.ndarray:
        """The bits per byte of all texts together, raw, float64 [K]; NaN in a PMI store."""
        if not self.has_losses:
            return np.full(len(entries), np.nan)
        for entry in entries:
            if entry.path not in self._totals:
                self.vectors([entry])
        total_K = np.array([self._totals[entry.path] for entry in entries])
        return -total_K / (np.log(2.0) * float(self.store.texts.text_bytes.sum()))

    def cleaned(self, entries: Sequence[Entry]) -> Cleaned:
        """`clean_map` of the vectors of these entries, computed once."""
        key = tuple(entry.path for entry in entries)
        if key not in self._cleaned:
            labels = [entry.label for entry in entries]
            self._cleaned[key] = clean_map(self.vectors(entries), labels)
        return self._cleaned[key]

"""The training runs of a store: their results, and the facts in their names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxmap.analysis.pythia import WARMUP
from jaxmap.naming import Name, natural_key
from jaxmap.store import Store
from jaxmap.store.labels import of_one_engine, rows_by_run
from jaxmap.store.record import Entry


@dataclass(frozen=True)
class Run:
    """The saved checkpoints of one training run, in order, with the plain result of each.

    A plain result is the model's own output, not quantised, in the default precision. A checkpoint
    that was requested or has failed but has no result is a gap: it has a step and no entry.

    Fields:
      name: a short name that is unique in the store.
      full_name: the name with organisation or folder.
      facts: the facts in the names that all checkpoints share.
      entries: the results; None for a gap.
      steps: int64 [I], the steps (or tokens, see `named_unit`) in the names. If stages are joined
        they count from the start of the first stage.
      warmup: the step at which warmup of the learning rate ends.
      unit: the unit of `times`: step or token.
      axis: int64 [I], the times if they are not the steps.
      named_places: for each checkpoint, the full name of its own run and its step there, if that is
        not this run.
    """

    name: str
    full_name: str
    facts: Name
    entries: tuple[Entry | None, ...]
    steps: np.ndarray
    warmup: int = WARMUP
    unit: str = "step"
    axis: np.ndarray | None = None
    named_places: tuple[tuple[str, int], ...] | None = None

    @property
    def times(self) -> np.ndarray:
        """The times along which the run is measured and drawn, int64 [I]."""
        return self.steps if self.axis is None else self.axis

    @property
    def named_unit(self) -> str:
        """The unit in the names of the checkpoints: step or token."""
        return next((one.name.unit for one in self.entries if one is not None), "step")

    @property
    def origins(self) -> tuple[tuple[str, int], ...]:
        """For each checkpoint, the full name of the run in its name, and its step there."""
        if self.named_places is not None:
            return self.named_places
        return tuple((self.full_name, int(step)) for step in self.steps)

    @property
    def parameters(self) -> float:
        """The number of parameters, as recorded or else from the name; NaN if unknown."""
        for entry in self.entries:
            known = entry and entry.provenance.model.get("num_parameters")
            if known:
                return float(known)
        return float("nan") if self.facts.size is None else self.facts.size


def size_of(entry: Entry) -> float | None:
    """The number of parameters, as recorded or else from the name (llama-2-7b); None if unknown."""
    known = entry.provenance.model.get("num_parameters")
    return float(known) if known else entry.name.size


def runs_of(store: Store, entries: Iterable[Entry] | None = None) -> list[Run]:
    """The runs with at least two results, sorted by size and name; `entries` are `store.records()`.

    Runs whose short names are equal have their full names.
    """
    plain = [
        entry
        for entry in of_one_engine(store.records() if entries is None else entries)
        if entry.variant.is_plain
    ]
    found = {
        key: [plain[row] for row in rows]
        for key, rows in rows_by_run(plain).items()
        if len(rows) > 1
    }
    names = store.names
    gaps: dict[tuple[str, str], set[int]] = defaultdict(set)
    for item in (*(failure.item for failure in store.failures()), *store.missing()):
        name = names.parse(item.ref, item.revision)
        if name.time is not None and not item.variant.is_quantised:
            gaps[name.run_name, name.unit].add(name.time)
    count = Counter(key.name.rpartition("/")[2] for key in found)
    runs = []
    for key, group in found.items():
        short = key.name.rpartition("/")[2]
        by_time: dict[int, Entry | None] = dict.fromkeys(gaps[key.name, key.unit])
        by_time |= {entry.name.time: entry for entry in group if entry.name.time is not None}
        steps = sorted(by_time)
        runs.append(
            Run(
                short if count[short] == 1 else key.name,
                key.name,
                group[0].name,
                tuple(by_time[step] for step in steps),
                np.array(steps, np.int64),
            )
        )
    return sorted(runs, key=_order)


def single_models(entries: Sequence[Entry]) -> list[Entry]:
    """The models that are not checkpoints of a run; they are shown on the map of models."""
    return [
        entry
        for entry in of_one_engine(entries)
        if entry.variant.is_plain and entry.name.time is None
    ]


def _order(run: Run) -> tuple[object, ...]:
    parameters = run.parameters
    known = parameters == parameters
    return (
        natural_key(f"{run.facts.organisation}/{run.facts.family}".lstrip("/")),
        not known,
        parameters if known else 0.0,
        natural_key(run.name),
    )

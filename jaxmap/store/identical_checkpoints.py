"""Checkpoints of one training run with equal scores of every text, that is, with a KL of 0."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from jaxmap.store.labels import RunKey, trajectory_of
from jaxmap.store.record import Entry

MOST_NAMED = 12  # the number of checkpoints of a group that a line names


@dataclass(frozen=True)
class IdenticalCheckpoints:
    """Two or more checkpoints of one run with equal scores, in the order of training."""

    run: RunKey
    entries: tuple[Entry, ...]

    @property
    def same_commit(self) -> bool:
        """Whether they have the same weights: one commit, or folders with equal content."""
        return len({entry.identity.commit for entry in self.entries}) == 1

    def __str__(self) -> str:
        times = [f"{entry.name.time:,}" for entry in self.entries]
        shown = times[:MOST_NAMED]
        left = f" and {len(times) - MOST_NAMED} more" if len(times) > MOST_NAMED else ""
        listed = (
            f"{', '.join(shown)}{left}"
            if left
            else " and ".join([", ".join(shown[:-1]), shown[-1]])
        )
        where = f"{self.run.name}{self.entries[0].variant.label}: {self.run.unit}s {listed}"
        if self.same_commit:
            return f"{where} have the same weights (commit {self.entries[0].identity.commit[:12]})"
        return (
            f"{where} give every text the same score (KL 0): identical weights under several "
            "names, or updates that changed nothing"
        )


def identical_checkpoints(entries: Iterable[Entry]) -> list[IdenticalCheckpoints]:
    """The groups among the models' own outputs; runs are in the order of their first result."""
    groups: dict[tuple[RunKey, str], list[Entry]] = defaultdict(list)
    for entry in entries:
        run = trajectory_of(entry)
        if run is not None and entry.vector_hash and entry.identity.variant.is_own_output:
            groups[run, entry.vector_hash].append(entry)
    return [
        IdenticalCheckpoints(run, tuple(sorted(group, key=lambda entry: entry.name.time or 0)))
        for (run, _), group in groups.items()
        if len(group) > 1
    ]

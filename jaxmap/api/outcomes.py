"""The outcome of scoring: results and failures."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from jaxmap.errors import InputError, JaxmapError
from jaxmap.results import Table
from jaxmap.store import Failure, Store

if TYPE_CHECKING:
    from jaxmap.sweeps.outcome import Outcome


@dataclasses.dataclass(frozen=True)
class Scored(Table):
    """What a run of scoring did.

    Fields:
      store: where the results are; `store.dataset()` has them as arrays.
      outcome: the labels of what was scored now and of what was found finished, and the failures.
    """

    file = "scored.csv"
    columns = ("model", "state", "reason")

    store: Store
    outcome: Outcome

    @property
    def scored(self) -> tuple[str, ...]:
        """Labels of what was scored now."""
        return tuple(self.outcome.scored)

    @property
    def found(self) -> tuple[str, ...]:
        """The labels of the results that the store had already."""
        return tuple(self.outcome.found)

    @property
    def failures(self) -> tuple[Failure, ...]:
        """The items that could not be scored, each with its reason in one line."""
        return tuple(self.outcome.failed)

    @property
    def unmeasured(self) -> tuple[str, ...]:
        """Checkpoints whose scores are done and whose weight distances could not be measured."""
        return tuple(self.outcome.unmeasured)

    @property
    def stopped(self) -> bool:
        """Whether the run was asked to stop (SIGTERM) before the end; call it again to resume."""
        return self.outcome.stopped

    def raise_for_failures(self) -> None:
        """Raises JaxmapError, InputError where only bad input stood in the way, if any failed."""
        raise_for(self.failures, self.unmeasured)

    def text(self, *, failures: bool = True) -> str:
        """One line with the numbers, and one for each failure if `failures`."""
        outcome = self.outcome
        lines = [
            f"{len(outcome.scored)} scored, {len(outcome.found)} already done, "
            f"{len(outcome.failed)} failed"
        ]
        if failures:
            lines += [f"  {failure.item.label}: {failure.reason}" for failure in outcome.failed]
            lines += [
                f"  {name}: scored, but its weight distances are missing"
                for name in outcome.unmeasured
            ]
        if outcome.stopped:
            lines.append("stopped before the end: run the same command again to resume")
        return "\n".join([*lines, ""])

    def rows(self) -> list[tuple[str, str, str]]:
        """One row per result: its label, its state (scored, found, failed), why it failed."""
        return [
            *((label, "scored", "") for label in self.scored),
            *((label, "found", "") for label in self.found),
            *((one.item.label, "failed", one.reason) for one in self.failures),
        ]


def raise_for(failures: tuple[Failure, ...], unmeasured: tuple[str, ...] = ()) -> None:
    """Raises one error that names all that failed; InputError where only bad input did."""
    reasons = [f"{one.item.label}: {one.reason}" for one in failures]
    reasons += [f"{name}: its weight distances could not be measured" for name in unmeasured]
    if reasons:
        only_input = not unmeasured and all(one.kind == "input" for one in failures)
        raise (InputError if only_input else JaxmapError)("; ".join(reasons))

"""What a run of scoring did, and why what failed did."""

from __future__ import annotations

import dataclasses
from typing import Literal

from absl import logging

from jaxmap.environment import versions
from jaxmap.errors import InputError, JaxmapError
from jaxmap.store.requests import Failure, Item

Ending = Literal["done", "stopped", "bad input", "failure"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run did.

    Fields:
      scored, found: labels of what was scored now, and of what was there.
      failed: what could not be scored, with reasons.
      unmeasured: checkpoints whose scores are done but whose weight distances failed.
      stopped: whether the run was told to end before all was done.
      follows: how the process that led ended, where this one only helped it.
    """

    scored: list[str] = dataclasses.field(default_factory=list)
    found: list[str] = dataclasses.field(default_factory=list)
    failed: list[Failure] = dataclasses.field(default_factory=list)
    unmeasured: list[str] = dataclasses.field(default_factory=list)
    stopped: bool = False
    follows: Ending | None = None

    @property
    def ending(self) -> Ending:
        """Whether all is done; else whether the run was told to stop before, only bad input stood
        in the way, or something failed."""
        if self.follows is not None:
            return self.follows
        if self.stopped:
            return "stopped"
        if not (self.failed or self.unmeasured):
            return "done"
        only_input = not self.unmeasured and all(f.kind == "input" for f in self.failed)
        return "bad input" if only_input else "failure"


def failure_of(item: Item, commit: str | None, error: Exception) -> Failure:
    """The note that a store keeps of an item that failed."""
    kind: Literal["input", "failure"] = "input" if isinstance(error, InputError) else "failure"
    if not isinstance(error, JaxmapError):
        logging.debug("%s", item.label, exc_info=error)
    return Failure(item, reason_of(error), kind, commit=commit, versions=versions())


def reason_of(error: Exception) -> str:
    """One line."""
    if isinstance(error, JaxmapError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"

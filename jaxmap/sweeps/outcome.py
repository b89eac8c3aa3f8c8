"""The outcome of a scoring run, and the reasons of failures."""

from __future__ import annotations

import dataclasses
from typing import Literal

from absl import logging

from jaxmap.environment import versions
from jaxmap.errors import InputError, JaxmapError, without_name
from jaxmap.store.record import checkpoint_name
from jaxmap.store.requests import Failure, Item

Ending = Literal["done", "stopped", "bad input", "failure"]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The outcome of a run.

    Fields:
      scored: labels of the results that were computed now.
      found: labels of the results that were in the store already.
      failed: the items that could not be scored, with reasons.
      unmeasured: checkpoints that were scored but whose weight distances failed.
      stopped: whether the run was told to stop before everything was done.
      follows: how the first process ended, if this one only followed its orders.
    """

    scored: list[str] = dataclasses.field(default_factory=list)
    found: list[str] = dataclasses.field(default_factory=list)
    failed: list[Failure] = dataclasses.field(default_factory=list)
    unmeasured: list[str] = dataclasses.field(default_factory=list)
    stopped: bool = False
    follows: Ending | None = None

    @property
    def ending(self) -> Ending:
        """How the run ended: everything done, stopped, bad input only, or another failure."""
        if self.follows is not None:
            return self.follows
        if self.stopped:
            return "stopped"
        if not (self.failed or self.unmeasured):
            return "done"
        only_input = not self.unmeasured and all(f.kind == "input" for f in self.failed)
        return "bad input" if only_input else "failure"


def failure_of(item: Item, commit: str | None, error: Exception) -> Failure:
    """The failure to store for an item."""
    kind: Literal["input", "failure"] = "input" if isinstance(error, InputError) else "failure"
    if not isinstance(error, JaxmapError):
        logging.debug("%s", item.label, exc_info=error)
    names = (item.label, checkpoint_name(item.ref, item.revision), item.ref)
    reason = without_name(reason_of(error), *names)
    return Failure(item, reason, kind, commit=commit, versions=versions())


def reason_of(error: Exception) -> str:
    """The message of an error in one line."""
    if isinstance(error, JaxmapError):
        return str(error)
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"

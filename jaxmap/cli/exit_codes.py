"""What the program's exit code says; see `jaxmap.cli.program`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from jaxmap.distributed import AGAIN, BAD_INPUT  # a process of several ends without the CLI
from jaxmap.errors import InputError, JaxmapError

if TYPE_CHECKING:
    from jaxmap.sweeps.outcome import Outcome

DONE, FAILURE = 0, 1
STOPPED = AGAIN  # the same command resumes
INTERRUPTED = 130  # as shells report Ctrl-C


def of_error(error: JaxmapError) -> int:
    """The exit code for an error that ended the program."""
    return BAD_INPUT if isinstance(error, InputError) else FAILURE


def of_outcome(outcome: Outcome) -> int:
    """The exit code of a run: DONE if all is done, STOPPED if it was asked to stop."""
    endings = {"done": DONE, "stopped": STOPPED, "bad input": BAD_INPUT, "failure": FAILURE}
    return endings[outcome.ending]


def of_kinds(only_input: Iterable[bool]) -> int:
    """The exit code for failures, each given as whether bad input was its cause."""
    found = list(only_input)
    if not found:
        return DONE
    return BAD_INPUT if all(found) else FAILURE


def first_of(codes: Iterable[int]) -> int:
    """The first exit code that is not DONE; DONE if there is none."""
    return next((code for code in codes if code), DONE)

"""The context of a store for the functions of the analyses, and where results are written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, TypeVar

from jaxmap.api.arguments import Names, Path, StoreLike, names_of, open_for_reading
from jaxmap.naming import read_runs_file
from jaxmap.results import Result

if TYPE_CHECKING:
    from jaxmap.analysis.context import Context

R = TypeVar("R", bound=Result)


def saved(result: R, out: Path | None) -> R:
    """The result, written into a folder where one is given."""
    if out is not None:
        result.save(FilePath(out))
    return result


def context_of(
    store: StoreLike,
    *,
    warmup_steps: int | None = None,
    parents: Path | None = None,
    time: str = "auto",
    stages: str = "apart",
    runs_file: Path | None = None,
    leave_out: Names = (),
    recipe: str = "auto",
    ask: Callable[[str], tuple[str, ...]] | None = None,
) -> Context:
    """The store as the analyses read it.

    The parameters are those of the functions in `jaxmap.api.analyses`; `ask` replaces the Hub where
    the parents of models are not known.
    """
    from jaxmap.analysis.context import Context

    opened = open_for_reading(store)
    if runs_file is not None:
        opened = opened.with_runs(read_runs_file(runs_file))
    return Context(
        opened,
        warmup_steps=warmup_steps,
        time=time,
        stages=stages,
        leave_out=names_of(leave_out),
        parents=None if parents is None else FilePath(parents),
        ask=ask,
        recipe=recipe,
    )

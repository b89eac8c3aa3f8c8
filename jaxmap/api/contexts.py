"""What the functions of the analyses share: the store as they read it, and where results go."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Any, TypeVar

from jaxmap.api.arguments import Path, StoreLike, open_for_reading
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
    warmup_steps: int | None = None,
    parents: Path | None = None,
    recipe: str = "auto",
    runs_file: Path | None = None,
    **options: Any,
) -> Context:
    """The store as the analyses read it; `runs_file` beside what the store keeps of runs."""
    from jaxmap.analysis.context import Context

    opened = open_for_reading(store)
    if runs_file is not None:
        opened = opened.with_runs(read_runs_file(runs_file))
    return Context(
        opened,
        warmup_steps=warmup_steps,
        parents=None if parents is None else FilePath(parents),
        recipe=recipe,
        **options,
    )

"""Progress on stderr, one bar for anything over a few seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm


def progress(total: int | float | None, desc: str, unit: str, **options) -> tqdm:
    """A bar on stderr; redrawn rarely when stderr is a file, so that logs stay readable."""
    terminal = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=desc,
        unit=unit,
        file=sys.stderr,
        dynamic_ncols=terminal,
        mininterval=0.2 if terminal else 10.0,
        **options,
    )


@contextmanager
def activity(word: str) -> Iterator[None]:
    """Shows a word on a terminal while something runs whose end is not known; else nothing."""
    shown = sys.stderr.isatty()
    with tqdm(desc=word, bar_format="{desc}", file=sys.stderr, leave=False, disable=not shown):
        yield

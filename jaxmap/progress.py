"""Progress on stderr, one bar for anything over a few seconds."""

from __future__ import annotations

import sys

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

"""Names of models for tables and headings: the end of a path, as long as it has to be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def short_names(names: Sequence[str]) -> list[str]:
    """The last part of each path; of paths that end alike, as many parts as tell them apart."""
    parts = [name.split("/") for name in names]
    length = [1] * len(names)
    while True:
        shown = ["/".join(part[-count:]) for part, count in zip(parts, length, strict=True)]
        counts = Counter(short for short, _ in {*zip(shown, names, strict=True)})
        longer = [
            i for i, short in enumerate(shown) if counts[short] > 1 and length[i] < len(parts[i])
        ]
        if not longer:
            return shown
        for i in longer:
            length[i] += 1

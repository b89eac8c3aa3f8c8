"""Names of models, shortened to fit beside a figure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile


def short_names(names: Sequence[str], longest: int = 34) -> list[str]:
    """The names, where one is longer than `longest` without what tells none from another.

    Folders that all names begin with are left out, then the middle of names that are still too
    long, as far as they stay different.
    """
    if max(map(len, names), default=0) <= longest:
        return list(names)
    parts = [name.split("/") for name in names]
    columns = zip(*(one[:-1] for one in parts), strict=False)
    shared = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))
    rests = ["/".join(one[shared:]) for one in parts]
    for length in range(longest, max(map(len, rests)) + 1):
        cut = [_cut(rest, length) for rest in rests]
        if len(set(cut)) == len(set(names)):
            return cut
    return rests


def _cut(name: str, length: int) -> str:
    if len(name) <= length:
        return name
    end = (length - 1) * 2 // 3  # the ends of names differ more often than the beginnings
    return f"{name[: length - 1 - end]}…{name[-end:]}"

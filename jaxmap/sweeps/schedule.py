"""The order in which checkpoints are scored, and the share of each worker."""

from __future__ import annotations

from collections.abc import Sequence

from jaxmap.checkpoint.refs import Ref
from jaxmap.naming import GRAMMAR, Names

_SLACK = 0.1  # the part of a share by which its border may move to fall between two runs


def in_order(refs: Sequence[Ref], names: Names = GRAMMAR) -> list[Ref]:
    """Sorts by size, then run, then time.

    Neighbours then share compiled programs, and weight distances need few checkpoints in memory.
    Runs of equal size, and models without a known size, keep their order.
    """
    first: dict[str, int] = {}
    for ref in refs:
        first.setdefault(run_name(ref, names), len(first))

    def place(ref: Ref) -> tuple[float, int, int]:
        name = names.parse(ref.name, ref.revision)
        return name.size or 0.0, first[run_name(ref, names)], -1 if name.time is None else name.time

    return sorted(refs, key=place)


def share(refs: Sequence[Ref], index: int, count: int, names: Names = GRAMMAR) -> range:
    """The range of ordered refs for worker `index` of `count`.

    Every reference belongs to exactly one worker. The shares are equal within a tenth, and a border
    is moved to the end of a run if that is near enough.
    """
    runs = [run_name(ref, names) for ref in refs]
    borders = [i for i in range(1, len(refs)) if runs[i] != runs[i - 1]]
    slack = _SLACK * len(refs) / count / 2  # for each of the two borders

    def cut(k: int) -> int:
        even = round(k * len(refs) / count)
        near = min(borders, key=lambda border: (abs(border - even), border), default=even)
        return near if abs(near - even) <= slack else even

    return range(cut(index) if index else 0, cut(index + 1) if index + 1 < count else len(refs))


def run_name(ref: Ref, names: Names = GRAMMAR) -> str:
    """The run of a checkpoint; any other model is a run of its own."""
    name = names.parse(ref.name, ref.revision)
    return str(ref) if name.time is None else name.run_name

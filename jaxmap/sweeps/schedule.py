"""In which order checkpoints are visited, and which of them are a worker's share."""

from __future__ import annotations

from collections.abc import Sequence

from jaxmap.checkpoint.refs import Ref
from jaxmap.naming import GRAMMAR, Names

_SLACK = 0.1  # of a share, by which a cut may move to fall between two runs


def in_order(refs: Sequence[Ref], names: Names = GRAMMAR) -> list[Ref]:
    """By size, then run, then time, so that neighbours in time share programs and weights' window.

    Runs of a size, and models that name none, keep the order in which they first came.
    """
    first: dict[str, int] = {}
    for ref in refs:
        first.setdefault(run_name(ref, names), len(first))

    def place(ref: Ref) -> tuple[float, int, int]:
        name = names.parse(ref.name, ref.revision)
        return name.size or 0.0, first[run_name(ref, names)], -1 if name.time is None else name.time

    return sorted(refs, key=place)


def share(refs: Sequence[Ref], index: int, count: int, names: Names = GRAMMAR) -> range:
    """The places in ordered refs that are worker `index`'s of `count`: contiguous, as many as the
    others' within a tenth, cut between two runs where one ends that near.

    Every place belongs to exactly one worker.
    """
    runs = [run_name(ref, names) for ref in refs]
    borders = [i for i in range(1, len(refs)) if runs[i] != runs[i - 1]]
    slack = _SLACK * len(refs) / count / 2  # of both ends together a tenth

    def cut(k: int) -> int:
        even = round(k * len(refs) / count)
        near = min(borders, key=lambda border: (abs(border - even), border), default=even)
        return near if abs(near - even) <= slack else even

    return range(cut(index) if index else 0, cut(index + 1) if index + 1 < count else len(refs))


def run_name(ref: Ref, names: Names = GRAMMAR) -> str:
    """The run of a checkpoint; a model that is none of several is a run of its own."""
    name = names.parse(ref.name, ref.revision)
    return str(ref) if name.time is None else name.run_name

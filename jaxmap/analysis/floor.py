"""Precision floors: how much of a KL can be due to rounding.

The precision floor of a result is the KL between the model in the precision in which it was scored
and the same checkpoint in float32. A KL less than ten times larger may be rounding.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from jaxmap.analysis.context import Context
from jaxmap.precision import REFERENCE
from jaxmap.results import Table
from jaxmap.stats.divergence import kl_pairs
from jaxmap.store.record import Entry

MARGIN = 10.0  # a result below so many times its floor is marked


@dataclass(frozen=True)
class Floor:
    """KL of one checkpoint's output against itself in float32, bits per byte."""

    entry: Entry  # in the other precision
    kl: float
    standard_error: float

    @property
    def dtype(self) -> str:
        """The precision in which the checkpoint was scored, a key of PRECISIONS."""
        return self.entry.identity.variant.precision


@dataclass(frozen=True)
class Floors(Table):
    """The precision floors measured in a store, the largest first."""

    file = "floor.csv"
    columns = ("model", "dtype", "kl_bits_per_byte", "standard_error")

    found: tuple[Floor, ...]

    def of(self, entries: Iterable[Entry]) -> float | None:
        """The floor of a result about these entries: the largest of their own floors.

        If none of them has a floor, it is the largest floor of any checkpoint in the same
        precision. It is None if none is known, and for float32.
        """
        entries = list(entries)
        own = {_checkpoint(entry) for entry in entries}
        dtypes = {entry.identity.variant.precision for entry in entries} - {REFERENCE}
        alike = [floor for floor in self.found if floor.dtype in dtypes]
        theirs = [floor for floor in alike if _checkpoint(floor.entry) in own]
        return max((floor.kl for floor in theirs or alike), default=None)

    def largest(self) -> dict[str, Floor]:
        """The largest floor of each precision, the largest first."""
        of: dict[str, Floor] = {}
        for floor in self.found:
            of.setdefault(floor.dtype, floor)
        return of

    def text(self) -> str:
        """The table as text."""
        width = max((len(floor.entry.label) for floor in self.found), default=5)
        lines = [f"{'model':<{width}} {'dtype':<11} {'floor':>9} {'+-':>8}  bits per byte"]
        lines += [
            f"{floor.entry.label:<{width}} {floor.dtype:<11} {floor.kl:9.3g} "
            f"{floor.standard_error:8.2g}"
            for floor in self.found
        ]
        return "\n".join(lines) + "\n"

    def rows(self) -> list[tuple[object, ...]]:
        """One row per checkpoint and precision."""
        return [(one.entry.label, one.dtype, one.kl, one.standard_error) for one in self.found]


def is_near(kl: float, floor: float | None) -> bool:
    """Whether a KL is less than MARGIN times its floor, so that it may be rounding."""
    return floor is not None and kl < MARGIN * floor


def measure_floors(
    context: Context,
    models: Iterable[tuple[str, str | None]] | None = None,
    dtypes: Iterable[str] | None = None,
) -> Floors:
    """Compares every result with that of the same checkpoint and commit in float32.

    Scores are raw, and the texts are the sample for standard errors. `models` (name, revision) and
    `dtypes` restrict the comparison to these.
    """
    groups: dict[tuple[str, ...], dict[str, Entry]] = defaultdict(dict)
    for entry in context.entries:
        one = entry.identity
        if one.variant.is_own_output:
            facts = (one.ref, one.revision or "", one.commit, one.tokenizer, one.special_rule)
            key = (*facts, one.variant.engine)
            groups[key][one.variant.precision] = entry
    wanted = None if models is None else set(models)
    kinds = None if dtypes is None else set(dtypes)
    pairs = [
        (found[REFERENCE], other)
        for found in groups.values()
        if REFERENCE in found
        for dtype, other in found.items()
        if dtype != REFERENCE
        and (wanted is None or (other.identity.ref, other.identity.revision) in wanted)
        and (kinds is None or dtype in kinds)
    ]
    if not pairs:
        return Floors(())
    pairs_P2 = np.arange(2 * len(pairs)).reshape(-1, 2)
    kl_P, error_P = kl_pairs(
        context.vectors(entry for pair in pairs for entry in pair), pairs_P2, context.mean_bytes
    )
    floors = [
        Floor(other, float(kl), float(error))
        for (_, other), kl, error in zip(pairs, kl_P, error_P, strict=True)
    ]
    return Floors(tuple(sorted(floors, key=lambda floor: -floor.kl)))


def _checkpoint(entry: Entry) -> tuple[str, str | None, str]:
    one = entry.identity
    return one.ref, one.revision, one.commit

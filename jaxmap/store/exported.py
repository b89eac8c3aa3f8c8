"""Which arrays of results an export holds, and what stands for those that a result has not."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from jaxmap.store.record import Entry, Record
from jaxmap.store.statistics import COUNTS, LOG_LIKELIHOOD, PMI, STATISTICS


def statistics_of(entries: Iterable[Entry]) -> tuple[str, ...]:
    """What an export of these results holds per text: vector, counts, then what else any has.

    The vector goes by the name log_likelihood, in a store of PMI too.
    """
    there = {name for entry in entries for name in entry.statistics} - {PMI}
    first = (LOG_LIKELIHOOD, *COUNTS)
    more = [one.name for one in STATISTICS.values() if one.per == "text" and one.name in there]
    return tuple(dict.fromkeys((*first, *more)))


def exported(record: Record, names: Iterable[str]) -> dict[str, np.ndarray]:
    """These arrays of a record; NaN, or -1 for counts, where it has none of a name."""
    num_texts = len(record.vector)
    found = {}
    for name in names:
        dtype = np.dtype(STATISTICS[name].dtype)
        absent = np.full(num_texts, np.nan if dtype.kind == "f" else -1, dtype)
        array_N = record.vector if name == LOG_LIKELIHOOD else record.arrays.get(name, absent)
        found[name] = array_N
    return found

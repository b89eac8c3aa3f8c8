"""The arrays that an export contains, and the values for arrays that a result does not have."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from jaxmap.store.record import Entry, Record
from jaxmap.store.statistics import COUNTS, LOG_LIKELIHOOD, PMI, STATISTICS


def statistics_of(entries: Iterable[Entry]) -> tuple[str, ...]:
    """The arrays per text in an export: vector, counts, then any others that a result has.

    The name of the vector is log_likelihood, in a store of PMI too.
    """
    there = {name for entry in entries for name in entry.statistics} - {PMI}
    first = (LOG_LIKELIHOOD, *COUNTS)
    more = [one.name for one in STATISTICS.values() if one.per == "text" and one.name in there]
    return tuple(dict.fromkeys((*first, *more)))


def exported(record: Record, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The arrays of a record with these names; NaN, or -1 for counts, for those it lacks."""
    num_texts = len(record.vector)
    found = {}
    for name in names:
        dtype = np.dtype(STATISTICS[name].dtype)
        absent = np.full(num_texts, np.nan if dtype.kind == "f" else -1, dtype)
        array_N = record.vector if name == LOG_LIKELIHOOD else record.arrays.get(name, absent)
        found[name] = array_N
    return found

"""The arrays that a record may have, by name: dtype, unit, and one value per text or per token."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from jaxmap.errors import InputError

TOKEN_PREFIX = "token_"  # the prefix of arrays with a value for every scored token


@dataclass(frozen=True)
class RecordArray:
    """The description of an array of a record.

    Fields:
      name: the name of the array.
      dtype: the dtype of its values in the store.
      unit: the unit of its values; "" for a pure number.
      per: whether it has a value per text, [N], or per scored token of all texts, [M].
      text: a description for readers.
    """

    name: str
    dtype: str
    unit: str
    per: Literal["text", "token"]
    text: str


def _both(name: str, unit: str, text: str) -> tuple[RecordArray, RecordArray]:
    """A statistic that is summed over a text's tokens, and the same statistic per token."""
    token = RecordArray(TOKEN_PREFIX + name, "float32", unit, "token", f"{text} of each token")
    return RecordArray(name, "float64", unit, "text", f"{text}, summed over a text"), token


LOG_LIKELIHOOD = "log_likelihood"
PMI = "pmi"
COUNTS = ("num_tokens", "num_scored")

STATISTICS: dict[str, RecordArray] = {
    one.name: one
    for one in (
        *_both(LOG_LIKELIHOOD, "nats", "log-likelihood"),
        RecordArray(
            "num_tokens", "int32", "tokens", "text", "ids of a text as scored; -1: unknown"
        ),
        RecordArray(
            "num_scored", "int32", "tokens", "text", "of these, predicted ones; -1: unknown"
        ),
        *_both("entropy", "nats", "entropy of the prediction"),
        RecordArray(
            PMI,
            "float64",
            "nats",
            "text",
            "log p(response | prompt) - log p(response), in a store of such vectors",
        ),
    )
}

TOKEN_LOG_LIKELIHOOD = TOKEN_PREFIX + LOG_LIKELIHOOD
_LARGEST_16 = float(np.finfo(np.float16).max)

# The vector of a record is the first of these that it has; every record has one.
VECTORS = (LOG_LIKELIHOOD, PMI)
# The statistics that are scored by default.
DEFAULT = (LOG_LIKELIHOOD,)
SCORED = tuple(name for name in STATISTICS if name not in (PMI, *COUNTS))


def parse_statistics(names: Iterable[str]) -> tuple[str, ...]:
    """The statistics to score, each once, in the order of the table.

    The log-likelihood is always included: analyses need it, and it costs nothing in addition to
    another one. Raises InputError for an unknown name.
    """
    wanted = set(names)
    for name in sorted(wanted):
        if name not in SCORED:
            known = ", ".join(SCORED)
            raise InputError(f"{name!r} is unknown; known: {known}", field="statistics")
    return tuple(name for name in SCORED if name in wanted or name in DEFAULT)


def is_per_token(name: str) -> bool:
    """Whether an array has a value per token; for an unknown name, by its prefix."""
    known = STATISTICS.get(name)
    return known.per == "token" if known else name.startswith(TOKEN_PREFIX)


def scored_as(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The engine's statistics for these arrays, and those of them that are needed per token."""
    names = tuple(names)
    per_token = tuple(name.removeprefix(TOKEN_PREFIX) for name in names if is_per_token(name))
    per_text = tuple(name for name in names if not is_per_token(name))
    return tuple(dict.fromkeys((*per_text, *per_token))), per_token


def in_16_bits(value_M: np.ndarray) -> np.ndarray:
    """An array per token in float16, rounded to the nearest; as it is if a value is too large.

    A value of 2^e to 2^(e+1) in size is off by 2^(e-11) at most, so by 2^-11 (1/2048) of itself,
    and by 2^-25 where it is less than 2^-14. A sum of log-probabilities, which have one sign, is
    off by 2^-11 of itself at most; as errors have both signs, by far less.
    """
    if len(value_M) and not np.abs(value_M).max() <= _LARGEST_16:
        return value_M
    return value_M.astype(np.float16)

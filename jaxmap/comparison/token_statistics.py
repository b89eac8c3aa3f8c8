"""Statistics of stored log-probabilities of tokens, without a model: `jaxmap tokens`."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from absl import logging

from jaxmap.analysis.kl_pairs import one_named
from jaxmap.comparison.estimates import Estimate
from jaxmap.comparison.subsets import by_fields, by_kind
from jaxmap.corpus.texts import TextSet
from jaxmap.errors import InputError
from jaxmap.results import Table
from jaxmap.stats.alignment import Alignment, Spans, align
from jaxmap.stats.bootstrap import drawn_sums
from jaxmap.store import Store, token_spans
from jaxmap.store.record import Entry
from jaxmap.store.statistics import TOKEN_LOG_LIKELIHOOD

# Resampling units, the largest first, and the statistic that is half the variance over each.
KL_OVER = {"text": "kl_bits_per_byte", "block": "kl_over_blocks", "token": "kl_over_tokens"}
UNITS = tuple(KL_OVER)
ALL = "all"


@dataclasses.dataclass(frozen=True)
class StatisticsRow:
    """A statistic of a model, or of a model and a reference; the columns of tokens.csv.

    Fields:
      subset: "all"; "field=value", the texts with it; "kind: ...", the tokens of a kind.
      statistic: bits_per_byte; beside a reference delta_bits_per_byte, how much more it is than the
        reference's; kl_bits_per_byte, half the variance over texts of the difference of
        log-likelihoods (the estimator of the papers); kl_over_blocks and kl_over_tokens, the same
        with blocks of bytes, or tokens, in place of texts.
      value: bits per byte.
      standard_error: from a bootstrap over units; NaN if the statistic is a variance over larger
        units than those, or if there is one unit only.
      units: the number of units.
    """

    reference: str
    model: str
    subset: str
    statistic: str
    value: float
    standard_error: float
    units: int


@dataclasses.dataclass(frozen=True)
class TokenStatistics(Table):
    """The result of `jaxmap tokens`."""

    file = "tokens.csv"
    columns = tuple(field.name for field in dataclasses.fields(StatisticsRow))

    found: tuple[StatisticsRow, ...]

    def rows(self) -> list[tuple[object, ...]]:
        """The rows of the table."""
        return [dataclasses.astuple(row) for row in self.found]


@dataclasses.dataclass(frozen=True)
class Resampling:
    """How standard errors are computed, and how log-probabilities are clipped before.

    Fields:
      unit: what is drawn with replacement: "text", "block" or "token"; between two tokenizers a
        stretch stands for a token, see `align`.
      block: bytes of a block; a stretch belongs to the block of its last byte.
      draws, seed: of the bootstrap.
      clip: log-probabilities below -clip nats are raised to -clip; None: they are not.
      max_bytes: only tokens that end within the first `max_bytes` bytes of a text are counted;
        None: all are.
    """

    unit: str = "text"
    block: int = 256
    draws: int = 1000
    seed: int = 0
    clip: float | None = None
    max_bytes: int | None = None


def token_statistics(
    store: Store,
    how: Resampling,
    *,
    reference: str | None = None,
    texts: TextSet | None = None,
    by: Sequence[str] = (),
) -> TokenStatistics:
    """Returns statistics of all results of a store that have log-probabilities of tokens.

    Args:
      store: the store.
      how: the resampling unit and the clippings.
      reference: the name of the result with which the others are compared; None: none is.
      texts: the store's texts; statistics by kind of token and by field need them.
      by: fields of the texts.

    Raises InputError if no result has log-probabilities of tokens, or the reference has none.
    """
    shown = store.records()
    entries = [entry for entry in shown if TOKEN_LOG_LIKELIHOOD in entry.statistics]
    if not entries:
        raise InputError(
            f"{store.path}: no result has log-probabilities of tokens: run the command that scored "
            "them again with `keep_tokens`"
        )
    if rest := len(shown) - len(entries):
        logging.warning("%d of %d results have none and are left out", rest, len(shown))
    base = None if reference is None else entries[one_named(entries, reference, "reference")]
    theirs = None if base is None else _Kept.read(store, base, how)
    of_texts = {} if texts is None else by_fields(texts, by)
    rows: list[StatisticsRow] = []
    for entry in entries:
        if base is not None and entry.label == base.label:
            continue
        ours = _Kept.read(store, entry, how)
        beside = _Beside(
            ours, theirs or ours, store.texts.text_bytes, how, compared=base is not None
        )
        subsets = beside.subsets(of_texts, texts)
        name = "" if base is None else base.label
        rows += [StatisticsRow(name, entry.label, *one) for one in beside.rows(subsets)]
    return TokenStatistics(tuple(rows))


@dataclasses.dataclass(frozen=True)
class _Kept:
    """The stored log-probabilities of a result, nats, float64 [M], and the bytes of its tokens."""

    ll_M: np.ndarray
    spans: Spans

    @classmethod
    def read(cls, store: Store, entry: Entry, how: Resampling) -> _Kept:
        value_M, offsets_N1 = store.load_tokens(entry, TOKEN_LOG_LIKELIHOOD)
        path = token_spans.path_of(store.path, entry.identity, entry.provenance)
        spans = token_spans.read(path)
        if spans is None or not np.array_equal(spans.offsets_N1, offsets_N1):
            raise InputError(
                f"{entry.label}: the bytes of its tokens are not in the store ({path}): take it "
                "out with `jaxmap forget`, and score it again with `keep_tokens`"
            )
        ll_M = value_M.astype(np.float64)
        return cls(ll_M if how.clip is None else np.maximum(ll_M, -how.clip), spans)


# Statistics are computed from sums over the chosen stretches: these are the columns of the matrix
# that is summed over the stretches of each unit.
_OURS, _THEIRS, _BYTES = range(3)
Of = Callable[[np.ndarray], np.ndarray]  # sums [R, columns] -> the statistic of each draw [R]


class _Beside:
    """A model and a reference (or the model itself) on the stretches of both tokenisations."""

    def __init__(
        self,
        ours: _Kept,
        theirs: _Kept,
        bytes_N: np.ndarray,
        how: Resampling,
        *,
        compared: bool,
    ):
        self._how, self._compared, self._bytes_N = how, compared, bytes_N
        self.at: Alignment = align(ours.spans, theirs.spans)
        self._ours_S = self.at.sums(ours.ll_M, self.at.of_M)
        self._theirs_S = self.at.sums(theirs.ll_M, self.at.of_L)
        self._inside_S = np.ones(len(self._ours_S), bool)
        if how.max_bytes is not None:
            self._inside_S = self.at.end_S <= how.max_bytes
            end_N = np.zeros(len(bytes_N), np.int64)
            np.maximum.at(end_N, self.at.text_S[self._inside_S], self.at.end_S[self._inside_S])
            self._bytes_N = end_N

    def subsets(
        self, of_texts: Mapping[str, np.ndarray], texts: TextSet | None
    ) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
        """Masks by name: stretches, bool [S], and texts, bool [N], or None for parts of texts."""
        whole_N = np.ones(len(self._bytes_N), bool)
        chosen: dict[str, tuple[np.ndarray, np.ndarray | None]] = {ALL: (self._inside_S, whole_N)}
        for name, some_N in of_texts.items():
            chosen[name] = self._inside_S & some_N[self.at.text_S], some_N
        if texts is None:
            return chosen
        offsets_N1 = np.searchsorted(self.at.text_S, np.arange(len(texts) + 1))
        kinds = by_kind(texts, (self.at.start_S, self.at.end_S), offsets_N1)
        for name, some_S in kinds.items():
            chosen[f"kind: {name.removeprefix('token: ')}"] = self._inside_S & some_S, None
        return chosen

    def rows(
        self, subsets: Mapping[str, tuple[np.ndarray, np.ndarray | None]]
    ) -> Iterator[tuple[str, str, float, float, int]]:
        for name, (chosen_S, texts_N) in subsets.items():
            if chosen_S.any():
                for statistic, one, units in self._estimates(chosen_S, texts_N):
                    yield name, statistic, one.value, one.standard_error, units

    def _estimates(
        self, chosen_S: np.ndarray, texts_N: np.ndarray | None
    ) -> Iterator[tuple[str, Estimate, int]]:
        """Each statistic of the chosen stretches, and the number of units that were drawn."""
        text_S, end_S = self.at.text_S[chosen_S], self.at.end_S[chosen_S]
        ours_S, theirs_S = self._ours_S[chosen_S], self._theirs_S[chosen_S]
        bytes_S = (end_S - self.at.start_S[chosen_S]).astype(np.float64)
        # Texts without a token are not drawn: they are as many in each resample, and differ by 0.
        silent, silent_bytes = 0, 0.0
        if texts_N is not None:
            heard_N = np.bincount(text_S, minlength=len(texts_N)) > 0
            silent = int((texts_N & ~heard_N).sum())
            silent_bytes = float(self._bytes_N[texts_N & ~heard_N].sum())
            bytes_S = _with_unscored(self._bytes_N, text_S, bytes_S)
        columns, more = [ours_S, theirs_S, bytes_S], [0.0, 0.0, silent_bytes]
        statistics: dict[str, Of] = {"bits_per_byte": lambda sums: _bits(-sums[:, _OURS], sums)}
        levels = {name: self._unit(name, text_S, end_S) for name in UNITS}
        if self._compared:
            statistics["delta_bits_per_byte"] = _delta
        if self._compared and texts_N is not None:
            for level, name in KL_OVER.items():
                statistics[name] = _half_variance(len(columns))
                columns += _moments(levels[level], ours_S - theirs_S)
                more += [float(silent) if level == "text" else 0.0, 0.0, 0.0]
        unit_S = levels[self._how.unit]
        units = int(unit_S.max()) + 1
        sums_UP = np.stack([np.bincount(unit_S, one) for one in columns], axis=1)
        total_P = sums_UP.sum(axis=0) + more
        drawn_RP = drawn_sums(sums_UP, self._how.draws, self._how.seed) + more
        wider = UNITS[: UNITS.index(self._how.unit)]
        for name, of in statistics.items():
            has_error = units > 1 and name not in {KL_OVER[level] for level in wider}
            error = float(of(drawn_RP).std(ddof=1)) if has_error else math.nan
            yield name, Estimate(float(of(total_P[None])[0]), error), units

    def _unit(self, unit: str, text_S: np.ndarray, end_S: np.ndarray) -> np.ndarray:
        """The unit of each stretch, from 0 in their order."""
        if unit == "token":
            return np.arange(len(text_S))
        block_S = np.zeros(len(text_S), np.int64)
        if unit == "block":
            block_S = np.maximum(end_S - 1, 0) // self._how.block
        return np.cumsum(_firsts(text_S) | _firsts(block_S)) - 1


def _bits(nats_R: np.ndarray, sums_RP: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return nats_R / (sums_RP[:, _BYTES] * math.log(2))


def _delta(sums_RP: np.ndarray) -> np.ndarray:
    return _bits(sums_RP[:, _THEIRS] - sums_RP[:, _OURS], sums_RP)


def _with_unscored(bytes_N: np.ndarray, text_S: np.ndarray, bytes_S: np.ndarray) -> np.ndarray:
    """Bytes of the stretches, and at each text's first one those that no token scores."""
    rest_N = bytes_N - np.bincount(text_S, bytes_S, minlength=len(bytes_N))
    first_S = _firsts(text_S)
    return bytes_S + np.where(first_S, rest_N[text_S], 0.0)


def _firsts(unit_S: np.ndarray) -> np.ndarray:
    """Whether a stretch is the first of its unit, bool [S]; those of a unit are neighbours."""
    return np.concatenate([np.ones(1, bool), unit_S[1:] != unit_S[:-1]])


def _moments(unit_S: np.ndarray, d_S: np.ndarray) -> list[np.ndarray]:
    """Of each unit, at its first stretch: 1, its difference d and d^2; 0 elsewhere."""
    first_S = _firsts(unit_S)
    d_S = np.where(first_S, np.bincount(unit_S, d_S)[unit_S], 0.0)
    return [first_S.astype(np.float64), d_S, d_S**2]


def _half_variance(first: int) -> Of:
    """Half the variance of d over units, of all units together, from the columns of `_moments`."""

    def of(sums_RP: np.ndarray) -> np.ndarray:
        count_R, sum_R, square_R = sums_RP[:, first : first + 3].T
        return _bits((square_R - sum_R**2 / count_R) / 2, sums_RP)

    return of

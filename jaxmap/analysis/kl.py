"""`jaxmap kl`: KL divergences of pairs of models, as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.analysis.context import Context
from jaxmap.analysis.kl_pairs import find_pairs, pairs_with, two_or_more
from jaxmap.errors import InputError
from jaxmap.figures.figure import Figures
from jaxmap.results import Table
from jaxmap.stats.divergence import Divergence, kl_pairs, kl_strips
from jaxmap.store.record import Entry

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class KlTable(Table):
    """KL divergences of pairs of results, in bits per byte.

    Fields:
      labels: the labels of all results in the pairs.
      pairs_P2: the pairs, as indices of `labels`, int64 [P, 2].
      kl: the KL of each pair, float64 [P].
      standard_error: its standard error with the texts as the sample, float64 [P].
    """

    file = "kl.csv"
    columns = ("model_a", "model_b", "kl_bits_per_byte", "standard_error")

    labels: tuple[str, ...]
    pairs_P2: np.ndarray
    kl: np.ndarray
    standard_error: np.ndarray

    def rows(self) -> list[tuple[object, ...]]:
        """One row per pair."""
        columns = (one.tolist() for one in (self.pairs_P2, self.kl, self.standard_error))
        return [
            (self.labels[i], self.labels[j], kl, error)
            for (i, j), kl, error in zip(*columns, strict=True)
        ]

    def draw(self) -> Figures:
        """kl: a matrix of squares, if all pairs of up to 40 models were measured."""
        from jaxmap.figures import kl_matrix

        return Figures(kl=kl_matrix.draw(self))

    def to_matrix(self) -> pandas.DataFrame:
        """The KL as a matrix of models by models; NaN for pairs that were not measured."""
        import pandas

        kl_KK = np.full((len(self.labels), len(self.labels)), np.nan)
        np.fill_diagonal(kl_KK, 0.0)
        i_P, j_P = self.pairs_P2.T
        kl_KK[i_P, j_P] = kl_KK[j_P, i_P] = self.kl
        return pandas.DataFrame(kl_KK, index=list(self.labels), columns=list(self.labels))


def measure_kl(context: Context, pairs: str = "all", base: str | None = None) -> KlTable:
    """The KL of pairs of a store's results, from their raw scores.

    `pairs` is "all" (each unordered pair once), "consecutive" (neighbouring checkpoints of each
    training run, variant and layer) or "A:B" (two labels). With a `base` (a label) they are the
    pairs of the base and each other result. All vectors and results are in memory at once, unlike
    in `kl_files`. Raises InputError if the store has no such pair.
    """
    store, entries = context.store, context.entries
    if base is not None:
        if pairs != "all":
            raise InputError(
                "`base` chooses the pairs: leave `pairs` out", field="pairs", value=pairs
            )
        two_or_more(store, entries)
        rows_P2 = pairs_with(entries, base)
    elif pairs == "all":
        two_or_more(store, entries)
        return kl_between(context, entries)
    else:
        rows_P2 = find_pairs(store, entries, pairs)
    used = np.unique(rows_P2)  # only these rows are read
    pairs_P2 = np.searchsorted(used, rows_P2)
    found = kl_pairs(context.vectors(entries[row] for row in used), pairs_P2, context.mean_bytes)
    return KlTable(tuple(entries[row].label for row in used), pairs_P2, *found)


def kl_between(context: Context, entries: Sequence[Entry]) -> KlTable:
    """The KL of every two of these results, from their raw scores."""
    labels = tuple(entry.label for entry in entries)
    pairs_P2 = np.stack(np.triu_indices(len(entries), k=1), axis=1)
    return KlTable(labels, pairs_P2, *_all_pairs(context.vectors(entries), context.mean_bytes))


def _all_pairs(ll_KN: np.ndarray, mean_bytes: float) -> Divergence:
    """KL and error of all pairs i < j, row by row, [P]."""
    parts: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    for _, strip in kl_strips(ll_KN, mean_bytes):
        above = np.triu_indices(len(strip.kl), k=1, m=strip.kl.shape[1])
        for part, matrix in zip(parts, strip, strict=True):
            part.append(matrix[above])
    return Divergence(*(np.concatenate(part) for part in parts))

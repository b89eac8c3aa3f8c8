"""The models of a store, each with its bits per byte, its nearest model and its parent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from jaxmap.analysis.context import Context
from jaxmap.analysis.kl import KlTable
from jaxmap.analysis.last_checkpoints import last_checkpoints
from jaxmap.analysis.runs import size_of
from jaxmap.results import Table
from jaxmap.stats.bits_per_byte import bits_per_byte
from jaxmap.stats.divergence import first_equals, kl_KK, kl_pairs, nearest_others
from jaxmap.store.record import Entry


@dataclass(frozen=True)
class ListedModel:
    """A model of a store.

    Fields:
      name: its label; of the last checkpoint of a training run, the run's name, unless another
        model of the store has that name.
      entry: its result.
      kind: what it is: "last checkpoint", "model" or "copy" (in fewer bits).
      parent: the name of the model that it was made from, or "": none known.
    """

    name: str
    entry: Entry
    kind: str
    parent: str = ""


@dataclass(frozen=True)
class NearestModels(Table):
    """The models of a store, each with its nearest neighbour, from raw scores.

    The nearest neighbour is another model: rows with the same scores (a checkpoint that was also
    released under a name of its own) are passed over.

    Fields:
      models: the models, [K].
      bits_K, bits_error_K: bits per byte of all texts with one standard error; NaN in a PMI store.
      nearest_K: the row of the nearest other model, int64; -1 if there is none.
      same_K: the first row with the same scores, int64: the row itself unless one before it has
        them.
      kl_K, kl_error_K: the KL to it, bits per byte, with one standard error over texts.
      parent_K: the row of the parent, int64; -1 if it is not among the models.
      parent_kl_K, parent_error_K: the KL to it.
      kl_KK: the KL of every two models, float64 [K, K].
      ll_KN: their scores in nats, as in the store.
      mean_bytes: the mean number of bytes of the texts.
    """

    file = "nearest.csv"
    columns = (
        "model", "label", "kind", "parameters", "bits_per_byte", "standard_error", "nearest",
        "kl_bits_per_byte", "kl_standard_error", "parent", "kl_to_parent",
        "kl_to_parent_standard_error", "same_scores_as",
    )  # fmt: skip

    models: tuple[ListedModel, ...]
    bits_K: np.ndarray
    bits_error_K: np.ndarray
    nearest_K: np.ndarray
    same_K: np.ndarray
    kl_K: np.ndarray
    kl_error_K: np.ndarray
    parent_K: np.ndarray
    parent_kl_K: np.ndarray
    parent_error_K: np.ndarray
    kl_KK: np.ndarray = field(repr=False)
    ll_KN: np.ndarray = field(repr=False)
    mean_bytes: float

    def rows(self) -> list[tuple[object, ...]]:
        """One row per model."""
        found: list[tuple[object, ...]] = []
        for k, one in enumerate(self.models):
            near, above = int(self.nearest_K[k]), int(self.parent_K[k])
            same = int(self.same_K[k])
            found.append(
                (
                    one.name, one.entry.label, one.kind, size_of(one.entry),
                    float(self.bits_K[k]), float(self.bits_error_K[k]),
                    self.models[near].name if near >= 0 else "",
                    *_known(near, self.kl_K[k], self.kl_error_K[k]), one.parent,
                    *_known(above, self.parent_kl_K[k], self.parent_error_K[k]),
                    self.models[same].name if same != k else "",
                )
            )  # fmt: skip
        return found

    @property
    def same(self) -> list[list[int]]:
        """The rows that have the same scores, two or more in each list."""
        groups: dict[int, list[int]] = {}
        for k, first in enumerate(self.same_K.tolist()):
            groups.setdefault(first, []).append(k)
        return [rows for rows in groups.values() if len(rows) > 1]

    def kl_table(self, rows: Sequence[int] | None = None) -> KlTable:
        """The KL of every two of these rows, or of all, with errors."""
        chosen = list(range(len(self.models)) if rows is None else rows)
        labels = tuple(self.models[k].entry.label for k in chosen)
        pairs_P2 = np.stack(np.triu_indices(len(chosen), k=1), axis=1)
        return KlTable(labels, pairs_P2, *kl_pairs(self.ll_KN[chosen], pairs_P2, self.mean_bytes))


def measure_nearest(context: Context) -> NearestModels:
    """Measures the models of a store: last checkpoints of runs, models, and copies in fewer bits.

    Copies are those of models and of last checkpoints. Scores are taken as they are.
    """
    models = _models(context)
    ll_KN = context.vectors(one.entry for one in models)
    size = len(models)
    matrix_KK = kl_KK(ll_KN, context.mean_bytes, errors=False).kl if size else np.zeros((0, 0))
    nearest_K = nearest_others(matrix_KK)
    rows = {one.name: k for k, one in enumerate(models)}
    rows |= {one.entry.label: k for k, one in enumerate(models)}
    parent_K = np.array([rows.get(one.parent, -1) for one in models], np.int64)
    bits_K, error_K = np.full(size, np.nan), np.full(size, np.nan)
    if context.has_losses and size:
        bits_K, error_K = bits_per_byte(ll_KN, context.store.texts.text_bytes)
    return NearestModels(
        tuple(models),
        bits_K,
        error_K,
        nearest_K,
        first_equals(matrix_KK),
        *_kl_to(ll_KN, nearest_K, context.mean_bytes),
        parent_K,
        *_kl_to(ll_KN, parent_K, context.mean_bytes),
        matrix_KK,
        ll_KN,
        context.mean_bytes,
    )


def _models(context: Context) -> list[ListedModel]:
    last = [
        ListedModel(run.name, entry, "last checkpoint") for run, entry in last_checkpoints(context)
    ]
    base_of = {copy.path: base for base, copy in context.copies}
    parents = context.parents_of(dict.fromkeys(entry.identity.ref for entry in context.singles))
    singles = []
    for entry in context.singles:
        if base := base_of.get(entry.path):
            singles.append(ListedModel(entry.label, entry, "copy", base.label))
        else:
            named = ", ".join(parents.get(entry.identity.ref, ()))
            singles.append(ListedModel(entry.label, entry, "model", named))
    plain = {
        (one.entry.identity.ref, one.entry.identity.revision): one for one in (*last, *singles)
    }
    copies = [
        ListedModel(entry.label, entry, "copy", made.name)
        for entry in context.entries
        if entry.variant.is_quantised and entry.variant.is_output
        if (made := plain.get((entry.identity.ref, entry.identity.revision))) is not None
    ]
    return _named_once([*last, *singles, *copies])


def _named_once(models: list[ListedModel]) -> list[ListedModel]:
    """The models, where a run has the name of another model with the label of its checkpoint."""
    count = Counter(one.name for one in models)
    return [
        replace(one, name=one.entry.label)
        if one.kind == "last checkpoint" and count[one.name] > 1
        else one
        for one in models
    ]


def _kl_to(
    ll_KN: np.ndarray, other_K: np.ndarray, mean_bytes: float
) -> tuple[np.ndarray, np.ndarray]:
    """The KL of each row to another row, and its error; NaN where that is -1."""
    kl_K, error_K = np.full(len(ll_KN), np.nan), np.full(len(ll_KN), np.nan)
    there = np.flatnonzero(other_K >= 0)
    found = kl_pairs(ll_KN, np.stack([there, other_K[there]], axis=1), mean_bytes)
    kl_K[there], error_K[there] = found.kl, found.standard_error
    return kl_K, error_K


def _known(row: int, *values: Sequence[float]) -> tuple[float | None, ...]:
    return tuple(float(value) if row >= 0 else None for value in values)  # type: ignore[arg-type]

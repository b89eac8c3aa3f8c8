"""`jaxmap pmi`: pointwise mutual information of prompts and responses, as a store of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from jaxmap.errors import InputError
from jaxmap.results import Table
from jaxmap.stats.resample import pmi
from jaxmap.store import Store
from jaxmap.store.record import Entry, Record, hash_facts
from jaxmap.store.statistics import PMI


@dataclass(frozen=True)
class _Responses:
    fingerprint: str
    num_bytes: np.ndarray
    source: str


@dataclass(frozen=True)
class PmiStore(Table):
    """A store of PMI vectors, and the number of new results in it."""

    file = "pmi.csv"
    columns = ("model", "mean_pmi_nats")

    store: Store
    added: int

    def rows(self) -> list[tuple[object, ...]]:
        """One row per model: its label, and the mean PMI of a response in nats."""
        return [
            (entry.label, float(self.store.load(entry).vector.mean()))
            for entry in self.store.records()
        ]


def write_pmi(conditional: Store, unconditional: Store, out: str | os.PathLike[str]) -> PmiStore:
    """Writes the PMI vectors, in nats, of the models in both stores to the store `out`.

    `conditional` was scored on prompts and responses, `unconditional` on the responses alone, in
    the same order (Takase et al., arXiv 2603.18593). Raises InputError if the responses differ in
    number or length, if a model has different commits in the two stores, or if no model is in both.
    """
    pairs = common(conditional, unconditional)
    texts = _Responses(
        hash_facts({"pmi": [conditional.texts.fingerprint, unconditional.texts.fingerprint]}),
        conditional.texts.text_bytes,
        f"{conditional.texts.source} less {unconditional.texts.source}",
    )
    store = Store.create(out, texts)
    records = _records(conditional, unconditional, pairs, texts.fingerprint)
    return PmiStore(store, store.add_many(records))


def common(conditional: Store, unconditional: Store) -> list[tuple[Entry, Entry]]:
    """The results of both stores, model by model, in the order of `conditional`."""
    given_N, alone_N = conditional.texts.text_bytes, unconditional.texts.text_bytes
    if not np.array_equal(given_N, alone_N):
        hint = ""
        if np.array_equal(np.sort(given_N), np.sort(alone_N)):
            hint = ": they have the same lengths in another order, so score them in one order"
        raise InputError(
            f"{unconditional.path}: its texts are not the responses of {conditional.path}, one for "
            f"one{hint}"
        )
    alone = {entry.label: entry for entry in unconditional.records()}
    pairs = [(one, alone[one.label]) for one in conditional.records() if one.label in alone]
    if not pairs:
        raise InputError(f"{conditional.path}, {unconditional.path}: have no model in common")
    for one, other in pairs:
        if one.identity.commit != other.identity.commit:
            raise InputError(
                f"{one.label}: commit {one.identity.commit[:12]} in {conditional.path}, "
                f"{other.identity.commit[:12]} in {unconditional.path}: score it again in one"
            )
    return pairs


def _records(
    conditional: Store, unconditional: Store, pairs: list[tuple[Entry, Entry]], texts: str
) -> Iterator[Record]:
    for one, other in pairs:
        given = conditional.load(one)
        pmi_N = pmi(given.log_likelihood, unconditional.load(other).log_likelihood)
        counts = {"num_tokens": given.num_tokens, "num_scored": given.num_scored}
        identity = replace(given.identity, texts=texts)
        yield Record(identity, given.provenance, {PMI: pmi_N, **counts})

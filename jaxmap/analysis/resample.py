"""Fewer texts for new models (Oyama et al., arXiv 2505.15428), and PMI vectors of two stores.

`choose` writes the chosen texts as a texts file whose lines also hold the text's index in the whole
set, how often it was drawn and its weight. New models are scored on that file into a store of their
own, and `place` finds their KL to the models of the map.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxmap.analysis.runs import is_plain
from jaxmap.corpus.texts import TextSet, load_texts, save_texts
from jaxmap.errors import InputError
from jaxmap.map.centre import double_centre
from jaxmap.map.clean import clean_map
from jaxmap.map.divergence import Divergence
from jaxmap.map.resample import Sample, Scheme, choose_texts, place, pmi, probabilities
from jaxmap.store import Store
from jaxmap.store.record import Entry


@dataclass(frozen=True)
class Placed:
    """KL and its error of one new model to each model of the map, [K], bits per byte."""

    model: str
    others: tuple[str, ...]
    divergence: Divergence


def choose(
    store: Store,
    texts: TextSet,
    out: str | os.PathLike[str],
    unique: int,
    scheme: Scheme = "KL",
    seed: int = 0,
) -> Sample:
    """Writes `unique` texts (.jsonl) by which new models can be placed among those of a store.

    Raises InputError when the texts are not the store's, or cannot be told apart or drawn.
    """
    if texts.fingerprint != store.texts.fingerprint:
        raise InputError(f"{texts.source}: not the texts that {store.path} was scored on")
    _, ll_KN, _ = _map(store)
    try:
        sample = choose_texts(probabilities(double_centre(ll_KN), scheme), unique, seed)
    except ValueError as error:
        raise InputError(f"{store.path}: {error}") from error
    rows = []
    columns = (sample.texts.tolist(), sample.counts.tolist(), sample.weights.tolist())
    for index, count, weight in zip(*columns, strict=True):
        row: dict[str, object] = {"index": index, "count": count, "weight": weight}
        if texts.prompts is None:
            row["text"] = texts.texts[index]
        else:
            row |= {"prompt": texts.prompts[index], "response": texts.texts[index]}
        rows.append(row)
    save_texts(out, rows)
    return sample


def read_sample(path: str | os.PathLike[str]) -> Sample:
    """The sample that `choose` wrote into a texts file; InputError for any other file."""
    try:
        rows = [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
        return Sample(
            np.array([row["index"] for row in rows], np.int64),
            np.array([row["count"] for row in rows], np.int64),
            np.array([row["weight"] for row in rows], np.float64),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: not a file of chosen texts ({error}): an uncompressed .jsonl whose lines "
            "hold index, count and weight"
        ) from error


def place_new(store: Store, chosen: str | os.PathLike[str], new: Store) -> list[Placed]:
    """Places the plain results of `new`, scored on chosen texts only, among those of `store`.

    All scores are raised to the floor of the map. Raises InputError when the new store was scored
    on other texts than the chosen ones, or these are not of the map's.
    """
    sample = read_sample(chosen)
    if load_texts(chosen).fingerprint != new.texts.fingerprint:
        raise InputError(f"{new.path}: scored on other texts than {chosen}")
    num_texts = len(store.texts.text_bytes)
    if not len(sample.texts) or sample.texts.max() >= num_texts:
        raise InputError(f"{chosen}: names texts that {store.path} does not have")
    if not np.array_equal(store.texts.text_bytes[sample.texts], new.texts.text_bytes):
        raise InputError(f"{chosen}: chosen from other texts than those of {store.path}")
    labels, ll_KN, floor = _map(store)
    entries = _plain(new)
    new_KU = np.maximum(new.log_likelihoods(entries), floor)
    ll_KU = ll_KN[:, sample.texts]
    mean_bytes = store.texts.mean_bytes
    return [
        Placed(entry.label, labels, place(ll_KU, new_U, sample, num_texts, mean_bytes))
        for entry, new_U in zip(entries, new_KU, strict=True)
    ]


def pmi_vectors(conditional: Store, unconditional: Store) -> tuple[tuple[str, ...], np.ndarray]:
    """Labels and PMI vectors [K, N], nats, of the models that both stores hold.

    `conditional` was scored on prompts and responses, `unconditional` on the responses alone, in
    the same order (Takase et al., arXiv 2603.18593). Raises InputError when the responses differ
    in number or length, or no model is in both.
    """
    if not np.array_equal(conditional.texts.text_bytes, unconditional.texts.text_bytes):
        raise InputError(
            f"{unconditional.path}: its texts are not the responses of {conditional.path}, one for "
            "one"
        )
    responses = {entry.label: entry for entry in unconditional.records()}
    both = [entry for entry in conditional.records() if entry.label in responses]
    if not both:
        raise InputError(f"{conditional.path}, {unconditional.path}: have no model in common")
    labels = tuple(entry.label for entry in both)
    given_KN = conditional.log_likelihoods(both)
    return labels, pmi(given_KN, unconditional.log_likelihoods(responses[name] for name in labels))


def _plain(store: Store) -> Sequence[Entry]:
    entries = [entry for entry in store.records() if is_plain(entry)]
    if not entries:
        raise InputError(f"{store.path}: holds no model's own output: score one")
    return entries


def _map(store: Store) -> tuple[tuple[str, ...], np.ndarray, float]:
    """Labels, clipped vectors and floor of the plain results."""
    entries = _plain(store)
    labels = [entry.label for entry in entries]
    cleaned = clean_map(store.log_likelihoods(entries), labels)
    return tuple(labels[row] for row in cleaned.rows), cleaned.ll_KN, cleaned.dropped.floor

"""`jaxmap resample`: fewer texts for new models (Oyama et al., arXiv 2505.15428).

`choose` returns the chosen texts as a texts file whose lines also have the text's index in the
whole set, how often it was drawn, and its weight. New models are scored on this file into a store
of their own, and `place` finds their positions among the models of the map.
"""

from __future__ import annotations

import functools
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.corpus.texts import TextSet, save_texts
from jaxmap.errors import InputError
from jaxmap.results import Result
from jaxmap.stats.centre import double_centre
from jaxmap.stats.clean import clean_map
from jaxmap.stats.resample import Sample, Scheme, choose_texts, probabilities
from jaxmap.store import Store
from jaxmap.store.labels import of_one_engine
from jaxmap.store.record import Entry
from jaxmap.store.text_facts import order_hint

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True)
class ChosenTexts(Result):
    """Texts by which new models can be placed on a map.

    Fields:
      sample: the texts, how often each was drawn, and its weight.
      rows: the lines of the texts file, one per text: index (in the whole set), count, weight and
        text, or prompt and response.
      num_texts: the number of texts in the whole set.
    """

    sample: Sample
    rows: tuple[dict[str, object], ...]
    num_texts: int

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per text, with the fields of the .jsonl file."""
        import pandas

        return pandas.DataFrame(list(self.rows))

    def save(self, folder: str | Path) -> list[Path]:
        """Writes chosen.jsonl, the texts file on which new models are scored."""
        return [self.write(Path(folder) / "chosen.jsonl")]

    @functools.cached_property
    def text_set(self) -> TextSet:
        """The texts as a text set, in the order of the rows."""
        paired = "response" in self.rows[0]
        texts = tuple(str(row["response" if paired else "text"]) for row in self.rows)
        prompts = tuple(str(row["prompt"]) for row in self.rows) if paired else None
        return TextSet(texts, prompts, source="the chosen texts")

    def write(self, path: str | Path) -> Path:
        """Writes the texts to a .jsonl file."""
        check_ending(path)
        save_texts(path, list(self.rows))
        return Path(path)


def check_ending(path: str | os.PathLike[str]) -> None:
    """Raises InputError for a name under which chosen texts cannot be read back."""
    if Path(path).suffix.lower() != ".jsonl":
        raise InputError("has to end in .jsonl", field="out", value=path)


def choose(
    store: Store, texts: TextSet, unique: int, scheme: Scheme = "KL", seed: int = 0
) -> ChosenTexts:
    """Chooses `unique` texts by which new models can be placed among those of a store.

    Raises InputError if the texts are not the store's, if no text distinguishes the models, or if
    so many texts cannot be drawn.
    """
    if texts.fingerprint != store.texts.fingerprint:
        raise InputError(
            f"{texts.source}: not the texts that {store.path} was scored on"
            f"{order_hint(store.texts, texts)}"
        )
    _, ll_KN, _ = map_of(store)
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
    return ChosenTexts(sample, tuple(rows), len(store.texts.text_bytes))


def read_sample(path: str | os.PathLike[str]) -> Sample:
    """The sample that `choose` wrote to a texts file; raises InputError for any other file."""
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


def plain(store: Store) -> list[Entry]:
    """The models' own outputs in default precision; raises InputError if there is none."""
    entries = [entry for entry in of_one_engine(store.records()) if entry.variant.is_plain]
    if not entries:
        raise InputError(f"{store.path}: holds no model's own output: score one")
    return entries


def map_of(store: Store) -> tuple[list[Entry], np.ndarray, float]:
    """The plain results, their clipped vectors [K, N], and the lower limit in nats."""
    entries = plain(store)
    labels = [entry.label for entry in entries]
    cleaned = clean_map(store.log_likelihoods(entries), labels)
    return [entries[row] for row in cleaned.rows], cleaned.ll_KN, cleaned.dropped.floor

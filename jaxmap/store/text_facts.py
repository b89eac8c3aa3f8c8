"""The facts about a store's text set, without the texts: STORE/store.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from jaxmap.errors import InputError
from jaxmap.store.json_files import FORMAT, CorruptError, decode_json
from jaxmap.store.record import now


class Texts(Protocol):
    """What a store needs from a TextSet. If num_bytes are floats, they are a given mean."""

    @property
    def fingerprint(self) -> str:
        """The hash of all texts."""

    @property
    def num_bytes(self) -> np.ndarray:
        """The length of each text in UTF-8 bytes, int [N]."""

    @property
    def source(self) -> str:
        """Where the texts are from, for readers."""


@dataclass(frozen=True)
class TextFacts:
    """The texts that every result of a store was scored on.

    If the texts themselves are unknown and only the mean of their bytes was given, `measured` is
    false and text_bytes is this mean for each text, float64.
    """

    fingerprint: str
    source: str
    text_bytes: np.ndarray  # [N], int64 when measured
    measured: bool = True
    unordered_fingerprint: str = ""  # the same for any order of the texts; "": not known

    @property
    def num_bytes(self) -> np.ndarray:
        """The bytes of each text, so that a store can be made from the facts of another."""
        return self.text_bytes

    @property
    def mean_bytes(self) -> float:
        """The mean length of a text in UTF-8 bytes."""
        return float(self.text_bytes.mean())


def difference(some: Texts, others: Texts) -> str:
    """How two sets of texts differ, for messages: "other texts", or that their order differs."""
    known = _unordered(some), _unordered(others)
    same = all(known) and known[0] == known[1]
    return "the same texts in another order" if same else "other texts"


def order_hint(some: Texts, others: Texts) -> str:
    """What to add to "not the texts of the store": that only their order differs, or nothing."""
    return "" if difference(some, others) == "other texts" else ", but the same in another order"


def _unordered(texts: Texts) -> str:
    return getattr(texts, "unordered_fingerprint", "")


def encode(texts: Texts) -> bytes:
    """The content of store.json for a text set."""
    facts: dict[str, Any] = {
        "format": FORMAT,
        "created": now(),
        "fingerprint": texts.fingerprint,
        "source": texts.source,
    }
    if unordered := _unordered(texts):
        facts["unordered_fingerprint"] = unordered
    num_bytes = np.asarray(texts.num_bytes)
    if np.issubdtype(num_bytes.dtype, np.integer):
        facts["text_bytes"] = num_bytes.tolist()
    else:
        facts["stated_mean_bytes"] = float(num_bytes[0])
        facts["num_texts"] = len(num_bytes)
    return (json.dumps(facts) + "\n").encode()


def read(path: Path) -> TextFacts:
    """Reads store.json; raises InputError if it is damaged or of another version."""
    try:
        facts = decode_json(path)
        measured = "text_bytes" in facts
        if measured:
            text_bytes = np.array(facts["text_bytes"], dtype=np.int64)
        else:
            text_bytes = np.full(facts["num_texts"], float(facts["stated_mean_bytes"]))
        unordered = facts.get("unordered_fingerprint", "")
        return TextFacts(facts["fingerprint"], facts["source"], text_bytes, measured, unordered)
    except (CorruptError, KeyError, ValueError, TypeError) as error:
        raise InputError(
            f"{path}: {error}: use another `store`, or the version of jaxmap that made it"
        ) from error

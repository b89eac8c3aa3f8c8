"""Small stores for tests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxmap.store import Entry, Identity, Provenance, Record, Store
from jaxmap.variant import Variant


@dataclass(frozen=True)
class FakeTexts:
    """What a store needs to know of texts."""

    fingerprint: str
    num_bytes: np.ndarray
    source: str = "some texts.jsonl"

    def __len__(self) -> int:
        return len(self.num_bytes)


def texts(num_texts: int = 50, name: str = "a") -> FakeTexts:
    num_bytes = np.random.default_rng(num_texts).integers(200, 1024, num_texts)
    return FakeTexts(f"{name}{num_texts}".ljust(64, "0"), num_bytes)


def record(
    of: FakeTexts,
    ref: str = "org/name",
    revision: str | None = None,
    *,
    commit: str = "c0",
    dtype: str = "float32",
    quantisation: str = "none",
    layer: int | None = None,
    tokenizer: str = "t0",
    scores: np.ndarray | None = None,
    seed: int | None = None,
    **provenance,
) -> Record:
    identity = Identity(
        ref,
        revision,
        commit,
        of.fingerprint,
        tokenizer,
        "none",
        Variant(dtype, quantisation, layer),
    )
    rng = np.random.default_rng(int(identity.key[:8], 16) if seed is None else seed)
    num_tokens = rng.integers(2, 300, len(of), dtype=np.int32)
    if scores is None:
        scores = -3.0 * num_tokens + rng.normal(size=len(of))
    arrays = {"log_likelihood": scores, "num_tokens": num_tokens, "num_scored": num_tokens - 1}
    return Record(identity, Provenance(**provenance), arrays)


def filled(path: Path, of: FakeTexts, *records: Record) -> tuple[Store, list[Entry]]:
    store = Store.create(path, of)
    return store, [store.add(one) for one in records]

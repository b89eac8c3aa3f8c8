"""A store of models of a Hub, and what a dataset repository has of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

import jaxmap
from jaxmap.store import Store
from support.stores import record, texts

TEXTS = replace(texts(), source="/home/alice/secret/texts.jsonl")

REPO = "org/maps"

COMMITS = ["0123456789abcdef" * 2 + f"{n:08x}" for n in range(9)]

HERE = "/home/alice/secret/model"

FILES = (("config.json", 1, 2, 3, 4),)


def hub_record(ref, n=0, revision=None, **more):
    return record(TEXTS, ref, revision, commit=COMMITS[n], files=FILES, **more)


def entropy_of(one):
    """Further statistics of a result: one per text, one per token."""
    scored = one.num_scored
    offsets_N1 = np.concatenate([[0], np.cumsum(scored)]).astype(np.int64)
    arrays = {
        "entropy": np.linspace(1, 2, len(scored)),
        "token_entropy": np.linspace(0, 1, offsets_N1[-1]).astype(np.float32),
    }
    return replace(one, arrays=arrays, offsets_N1=offsets_N1)


def files(store: Store) -> dict[str, bytes]:
    names = [*store.path.glob("records/*"), *store.path.glob("token_arrays/*")]
    return {path.relative_to(store.path).as_posix(): path.read_bytes() for path in names}


def shared(hub) -> dict[str, bytes]:
    return hub.datasets[REPO].files


def results(hub) -> set[str]:
    return {name for name in shared(hub) if name.startswith(("records/", "token_arrays/"))}


def pulled_store(tmp_path) -> Store:
    jaxmap.pull(tmp_path / "theirs", REPO)
    return Store.open(tmp_path / "theirs")

"""A small store that fills every map: two training runs, models, relatives, layers."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from jaxmap.analysis import genealogy
from jaxmap.store import Store
from support.stores import filled, record, texts

STEPS = (0, 1, 2000, 3000, 4000, 5000)


def map_store(path: Path, num_texts: int = 60, runs: bool = True, models: bool = True) -> Store:
    of = texts(num_texts)
    rng = np.random.default_rng(7)
    records = []
    if runs:
        for name in ("org/pythia-14m", "org/pythia-14m-seed1", "org/pythia-70m"):
            scores = -3.0 * of.num_bytes
            for step in STEPS:
                scores = scores * 0.95 + rng.normal(0, 8, num_texts)
                records.append(record(of, name, f"step{step}", scores=scores))
    parents: dict[str, tuple[str, ...]] = {}
    if models:
        base_N = -2.5 * of.num_bytes
        for k in range(6):
            kind = {"model_type": "llama" if k % 2 else "gpt2"}
            scores = base_N + rng.normal(0, 20, num_texts)
            name = f"lab/m{k}"
            parents[name] = ()
            records.append(record(of, name, scores=scores, model=kind))
            child = scores + rng.normal(0, 4, num_texts)
            parents[f"{name}-chat"] = (name,)
            records.append(record(of, f"{name}-chat", scores=child, model=kind))
            grandchild = child + rng.normal(0, 4, num_texts)
            parents[f"{name}-chat-v2"] = (f"{name}-chat",)
            records.append(record(of, f"{name}-chat-v2", scores=grandchild, model=kind))
            small = scores + rng.normal(0, 1, num_texts)
            records.append(record(of, name, scores=small, quantisation="int8", model=kind))
            for layer in range(3):
                deep = scores - 40 * (2 - layer)
                deep = deep + rng.normal(0, 5 * (2 - layer) + 1e-9, num_texts)
                records.append(record(of, name, layer=layer, num_layers=2, scores=deep, model=kind))
    store, _ = filled(path, of, *records)
    if models:
        genealogy.save_known(store.path, parents, None)
    return store

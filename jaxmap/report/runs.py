"""The training runs of a store: their checkpoints in order, what they learn, how they end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxmap.figures.learning import Learning, bits_per_byte
from jaxmap.map.divergence import Divergence, kl_pairs
from jaxmap.store import Store
from jaxmap.store.labels import natural_key, step_of, trajectory_of
from jaxmap.store.record import Entry


@dataclass(frozen=True)
class Run:
    """The checkpoints of one training run, earliest first, and their scores."""

    name: str  # the model's name without its folder or organisation
    entries: tuple[Entry, ...]
    step_I: np.ndarray  # int64
    ll_IN: np.ndarray  # float64, nats


def runs_of(store: Store) -> list[Run]:
    """The runs with two checkpoints or more (the models' own outputs, no layers), small to large.

    Runs whose short names coincide keep their full ones.
    """
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for entry in store.records():
        key = trajectory_of(entry)
        if key is not None and entry.identity.layer is None:
            groups.setdefault(key, []).append(entry)
    found = [group for group in groups.values() if len(group) > 1]
    full = [_run_name(group[0]) for group in found]
    short = [name.rpartition("/")[2] for name in full]
    runs = []
    for group, long_name, name in zip(found, full, short, strict=True):
        steps = [step_of(entry.identity.ref, entry.identity.revision) or 0 for entry in group]
        order = np.argsort(steps, kind="stable")
        entries = tuple(group[i] for i in order)
        runs.append(
            Run(
                name if short.count(name) == 1 else long_name,
                entries,
                np.array(steps, np.int64)[order],
                store.log_likelihoods(entries),
            )
        )
    return sorted(runs, key=lambda run: (_parameters(run), natural_key(run.name)))


def learning(run: Run, text_bytes: np.ndarray) -> Learning:
    """Bits per byte of each checkpoint of a run."""
    bits_I, error_I = bits_per_byte(run.ll_IN, text_bytes)
    return Learning(run.name, run.step_I, bits_I, error_I)


def between_finals(runs: Sequence[Run], mean_bytes: float) -> tuple[np.ndarray, Divergence]:
    """Pairs [P, 2] of places in `runs`, and the KL between their last checkpoints."""
    pairs_P2 = np.stack(np.triu_indices(len(runs), k=1), axis=1)
    last_RN = np.stack([run.ll_IN[-1] for run in runs])
    return pairs_P2, kl_pairs(last_RN, pairs_P2, mean_bytes)


def _run_name(entry: Entry) -> str:
    one = entry.identity
    name = one.ref if one.revision is not None else one.ref.rpartition("/")[0]
    if not entry.provenance.is_default_dtype:
        name += f"+{one.dtype}"
    return name if one.quantisation == "none" else f"{name}+{one.quantisation}"


def _parameters(run: Run) -> int:
    return int(run.entries[-1].provenance.model.get("num_parameters", 0))

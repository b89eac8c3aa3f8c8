"""Labels of results, which results are shown, and in which order."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.errors import InputError
from jaxmap.naming import natural_key
from jaxmap.store.record import Entry, checkpoint_name
from jaxmap.store.text_facts import TextFacts
from jaxmap.variant import JAX, TUNED, Variant

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True)
class RunKey:
    """Identifies the checkpoints of one training run in one variant."""

    name: str  # `naming.Name.run_name`
    by_path: bool  # whether the checkpoints differ by their names and not by their revisions
    unit: str  # the unit of their time: step or token
    variant: Variant


def arrange(entries: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
    """The entries to show, labelled and in order, and the entries that newer ones supersede.

    All shown entries of a checkpoint are of one commit, the one scored last: the layers, quantised
    copies and output of a model belong together. The order is by name, revision (step2 before
    step10), variant and layer.
    """
    by_checkpoint: dict[tuple[str, str | None], list[Entry]] = defaultdict(list)
    for entry in {entry.identity.key: entry for entry in entries}.values():
        by_checkpoint[entry.identity.ref, entry.identity.revision].append(entry)

    shown: list[Entry] = []
    superseded: list[Entry] = []
    for group in by_checkpoint.values():
        group.sort(key=_age, reverse=True)
        commit = group[0].identity.commit
        newest: dict[Variant, Entry] = {}
        for entry in group:
            one = entry.identity
            # If there are two tuned lenses, all layers of the one scored last are shown.
            variant = one.variant.of_any_lens
            if one.commit == commit and variant not in newest:
                newest[variant] = entry
            else:
                superseded.append(entry)
        shown.extend(newest.values())

    ambiguous = Counter(map(_short_label, shown))
    labelled = [
        replace(entry, label=_label(entry, ambiguous[_short_label(entry)] > 1)) for entry in shown
    ]
    # Only a name that itself contains '@', '+' or '#' can still collide.
    counts = Counter(entry.label for entry in labelled)
    labelled = [
        replace(entry, label=f"{entry.label}~{entry.identity.key[:8]}")
        if counts[entry.label] > 1
        else entry
        for entry in labelled
    ]
    superseded = [replace(entry, label=_short_label(entry)) for entry in superseded]
    return sorted(labelled, key=_order), sorted(superseded, key=lambda e: (_order(e), _age(e)))


def of_one_engine(entries: Iterable[Entry]) -> list[Entry]:
    """The entries without those of which the same, from the engine jax, is there too.

    For analyses that count models: one that two engines scored is one model.
    """
    entries = list(entries)
    there = {(one.identity.ref, one.identity.revision, one.variant) for one in entries}
    return [
        one
        for one in entries
        if one.variant.engine == JAX
        or (one.identity.ref, one.identity.revision, replace(one.variant, engine=JAX)) not in there
    ]


def trajectory_of(entry: Entry) -> RunKey | None:
    """The run and variant of an entry; None for a model that is not a checkpoint of a run."""
    one, name = entry.identity, entry.name
    if name.time is None:
        return None
    return RunKey(name.run_name, one.revision is None, name.unit, one.variant.of_any_lens)


def rows_by_run(entries: Sequence[Entry]) -> dict[RunKey, list[int]]:
    """The rows of each run's checkpoints, in the order of training.

    Runs are in the order of their first entry. Raises InputError if two results have the same run
    and time, since either could be meant.
    """
    found: dict[RunKey, dict[int, int]] = defaultdict(dict)
    for row, entry in enumerate(entries):
        run, time = trajectory_of(entry), entry.name.time
        if run is None or time is None:
            continue
        other = found[run].setdefault(time, row)
        if other != row:
            raise InputError(
                f"{entries[other].label} and {entry.label} are both {run.unit} {time} of the run "
                f"{run.name}; remove one of them with `jaxmap forget`"
            )
    return {run: [rows[time] for time in sorted(rows)] for run, rows in found.items()}


def columns(entries: list[Entry]) -> dict[str, np.ndarray]:
    """The facts of labelled entries as arrays [K].

    -1 stands for an unknown step, or for a result that is not of a layer; NaN for an unknown size.
    """
    ones = [entry.identity for entry in entries]
    steps = [entry.name.step for entry in entries]
    variants = [one.variant for one in ones]
    return {
        "model": np.array([entry.label for entry in entries], dtype=str),
        "ref": np.array([one.ref for one in ones], dtype=str),
        "revision": np.array([one.revision or "" for one in ones], dtype=str),
        "commit": np.array([one.commit for one in ones], dtype=str),
        "step": np.array([-1 if step is None else step for step in steps], dtype=np.int64),
        "dtype": np.array([one.precision for one in variants], dtype=str),
        "quantisation": np.array([one.quantisation for one in variants], dtype=str),
        "layer": np.array(
            [-1 if one.layer is None else one.layer for one in variants], dtype=np.int64
        ),
        "format": np.array([entry.file_type for entry in entries], dtype=str),
        "bits_per_weight": _numbers(entry.bits_per_weight for entry in entries),
        "gib": _numbers(entry.num_bytes and entry.num_bytes / 2**30 for entry in entries),
        "lens": np.array([TUNED if one.is_tuned else one.lens for one in variants], dtype=str),
        "engine": np.array([one.engine for one in variants], dtype=str),
    }


def _numbers(values: Iterable[float | None]) -> np.ndarray:
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _short_label(entry: Entry) -> str:
    return _label(entry, False)


def _label(entry: Entry, with_dtype: bool) -> str:
    one = entry.identity
    variant = one.variant if with_dtype else entry.variant
    return checkpoint_name(one.ref, one.revision) + variant.label


def _order(entry: Entry) -> tuple[object, ...]:
    one = entry.identity
    return (
        natural_key(one.ref),
        one.revision is not None,
        natural_key(one.revision or ""),
        *entry.variant.order[:4],  # the default precision comes first
        *one.variant.order,
        one.key,
    )


def _age(entry: Entry) -> tuple[int, str, str]:
    return entry.generation, entry.provenance.created, entry.identity.key


def labelled(entries: list[Entry], texts: TextFacts) -> xarray.Dataset:
    """The labels of results over (model) and the bytes of texts over (text).

    The attributes give the units of a store's arrays.
    """
    import xarray

    return xarray.Dataset(
        coords={
            **{name: ("model", column) for name, column in columns(entries).items()},
            "text_bytes": ("text", texts.text_bytes),
        },
        attrs={
            "units": "log_likelihood in nats, text_bytes in UTF-8 bytes",
            "mean_text_bytes": texts.mean_bytes,
            "texts": texts.fingerprint,
            "source": texts.source,
        },
    )

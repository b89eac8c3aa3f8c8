"""What a result is called, which results are shown, and in which order."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from jaxmap.store.record import Entry, checkpoint_name
from jaxmap.variant import TUNED, Variant

# How trainers name the checkpoints of one run: step1000, stage1-step1000-tokens4B, checkpoint-500.
_STEP = re.compile(r"(?:^|[^a-z])(?:step|checkpoint|iter)[-_]?(\d+)", re.IGNORECASE)


def arrange(entries: Iterable[Entry]) -> tuple[list[Entry], list[Entry]]:
    """The entries to show, labelled and in order, and those that newer ones supersede.

    All that is shown of a checkpoint comes from one commit, the one scored last: the layers, the
    quantised versions and the output of a model belong together. The order is by name, revision
    (step2 before step10), variant and layer, whatever the order of arrival.
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
            # Of two tuned lenses the one scored last is shown, whole.
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


def natural_key(text: str) -> tuple[list[object], str]:
    """Sorts numbers inside names by value: step2, step10, step1000."""
    parts = re.split(r"(\d+)", text)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], text


def step_of(ref: str, revision: str | None) -> int | None:
    """The training step that a revision or a folder's name tells: `name@step10`, `run/step10`."""
    match = _match_step(ref, revision)
    return int(match[1]) if match else None


def run_of(ref: str, revision: str | None) -> tuple[str, int] | None:
    """The training run that a checkpoint belongs to, and its step; None when no step is known."""
    match = _match_step(ref, revision)
    if match is None:
        return None
    if revision is None:  # seed1-step10 and seed2-step10 in one folder are two runs
        ref = ref.removesuffix(match.string) + match.string[: match.start()]
    return ref, int(match[1])


def trajectory_of(entry: Entry) -> tuple[object, ...] | None:
    """What the checkpoints of one run share: run, variant, layer; None when no step is known."""
    one = entry.identity
    found = run_of(one.ref, one.revision)
    if found is None:
        return None
    return found[0], one.revision is None, one.variant.of_any_lens


def columns(entries: list[Entry]) -> dict[str, np.ndarray]:
    """The facts of labelled entries as arrays [K]; -1 is no known step, or not a layer."""
    ones = [entry.identity for entry in entries]
    steps = [step_of(one.ref, one.revision) for one in ones]
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
        "lens": np.array([TUNED if one.is_tuned else one.lens for one in variants], dtype=str),
    }


def _match_step(ref: str, revision: str | None) -> re.Match[str] | None:
    return _STEP.search(ref.rpartition("/")[2] if revision is None else revision)


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
        *entry.variant.order[:3],  # the default precision first, whichever it is
        *one.variant.order,
        one.key,
    )


def _age(entry: Entry) -> tuple[int, str, str]:
    return entry.generation, entry.provenance.created, entry.identity.key

"""Finds the pairs of a store's results for KL: `all`, `consecutive`, `A:B`, or with a base."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from absl import logging

from jaxmap.errors import InputError
from jaxmap.store import Store
from jaxmap.store.labels import rows_by_run
from jaxmap.store.record import Entry, checkpoint_name


def two_or_more(store: Store, entries: Sequence[Entry]) -> None:
    """Raises InputError for a store with fewer than two results."""
    if len(entries) < 2:
        raise InputError(
            f"{store.path}: holds {len(entries)} result(s), a KL needs two: score more models"
        )


def find_pairs(store: Store, entries: Sequence[Entry], pairs: str) -> np.ndarray:
    """The pairs for `consecutive` or `A:B` (two labels), as rows of `entries`, int64 [P, 2].

    Raises InputError if the store has no such pair.
    """
    if pairs != "consecutive":
        return np.array([named(entries, pairs)], np.int64)
    found = consecutive_pairs(entries)
    if not found:
        raise InputError(
            f"{store.path}: no two checkpoints of one training run (names like "
            "org/name@step1000, run/step1000 or run@step1000): use `pairs=all` or `pairs=A:B`"
        )
    _warn_of_gaps(store)
    return np.array(found, np.int64)


def pairs_with(entries: Sequence[Entry], base: str) -> np.ndarray:
    """The pairs of `base` and each other result, as rows of `entries`, int64 [P, 2].

    Raises InputError if no result, or more than one, has this name and none has it as its label.
    """
    first = one_named(entries, base, "base")
    others = [(first, row) for row in range(len(entries)) if row != first]
    return np.array(others, np.int64).reshape(-1, 2)


def one_named(entries: Sequence[Entry], name: str, field: str) -> int:
    """The row of the result with this name, which the parameter `field` gives; InputError if there
    is not exactly one."""
    rows = _rows(entries, name)
    if len(rows) != 1:
        raise InputError(_not_one(entries, name, rows), field=field, value=name)
    return rows[0]


def consecutive_pairs(entries: Sequence[Entry]) -> list[tuple[int, int]]:
    """The pairs of neighbouring saved checkpoints, run by run."""
    return [pair for rows in rows_by_run(entries).values() for pair in pairwise(rows)]


def named(entries: Sequence[Entry], spec: str) -> tuple[int, int]:
    """The rows of `A:B`; a name may itself contain a colon."""

    def wrong(message: str) -> InputError:
        return InputError(message, field="pairs", value=spec)

    places = [place for place, letter in enumerate(spec) if letter == ":"]
    if not places:
        raise wrong("neither all, nor consecutive, nor A:B")
    splits = [(spec[:place], spec[place + 1 :]) for place in places]
    found = [(_rows(entries, a), _rows(entries, b)) for a, b in splits]
    pairs = {(a[0], b[0]) for a, b in found if len(a) == len(b) == 1}
    if len(pairs) == 1:
        (pair,) = pairs
        if pair[0] == pair[1]:
            raise wrong("names the same result twice")
        return pair
    if pairs:
        raise wrong("fits several pairs: a name in it contains ':'")
    # Complain about the split that fits best.
    best = max(range(len(splits)), key=lambda n: bool(found[n][0]) + bool(found[n][1]))
    for name, rows in zip(splits[best], found[best], strict=True):
        if len(rows) != 1:
            raise wrong(_not_one(entries, name, rows))
    raise AssertionError("unreachable: every split with one row each is a pair")


def _rows(entries: Sequence[Entry], name: str) -> list[int]:
    """The row with this label; otherwise the rows of this checkpoint; otherwise of this model."""
    for known_as in (
        lambda entry: entry.label,
        lambda entry: checkpoint_name(entry.identity.ref, entry.identity.revision),
        lambda entry: entry.identity.ref,
    ):
        rows = [row for row, entry in enumerate(entries) if known_as(entry) == name.rstrip("/")]
        if rows:
            return rows
    return []


def _not_one(entries: Sequence[Entry], name: str, rows: Sequence[int]) -> str:
    """The message about a name that no row, or several rows, have."""
    if not rows:
        return f"no model {name!r} in the store{_near(entries, name)}"
    several = ", ".join(entries[row].label for row in rows[:5])
    more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
    return f"{name!r} names several results: {several}{more}: name one"


def _near(entries: Sequence[Entry], name: str) -> str:
    labels = [entry.label for entry in entries]
    near = difflib.get_close_matches(name, labels, n=3, cutoff=0.3) or labels[:3]
    return f"; nearest: {', '.join(near)}" if near else ", it is empty"


def _warn_of_gaps(store: Store) -> None:
    absent = len(store.missing()) + len(store.failures())
    if absent:
        logging.warning(
            "%s: %d of the requested models are missing or failed; pairs of neighbours may span "
            "a gap (see `jaxmap status`)",
            store.path,
            absent,
        )

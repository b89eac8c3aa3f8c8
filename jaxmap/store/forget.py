"""Removes models from a store: their results, failures and requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from jaxmap.atomic import write_atomic
from jaxmap.naming import Names, natural_key
from jaxmap.results import Table
from jaxmap.store.checkpoints import Checkpoint, matching
from jaxmap.store.json_files import CorruptError, encode_json
from jaxmap.store.record import checkpoint_name, hash_facts, now
from jaxmap.store.requests import decode_requested, partial_path
from jaxmap.store.store import Store
from jaxmap.store.weight_distances import DistanceTable


@dataclass(frozen=True)
class Forgotten(Table):
    """What was removed from a store.

    Fields:
      counts: (name, results, failures, requests) of each checkpoint.
    """

    file = "forgotten.csv"
    columns = ("model", "results", "failures", "requests")

    counts: tuple[tuple[str, int, int, int], ...]

    def rows(self) -> Sequence[tuple[str, int, int, int]]:
        """One row per checkpoint."""
        return self.counts

    def text(self) -> str:
        """The counts of all checkpoints together, in one line."""
        results = sum(row[1] for row in self.counts)
        failures = sum(row[2] for row in self.counts)
        requests = sum(row[3] for row in self.counts)
        return (
            f"{len(self.counts)} models forgotten: {results} results, {failures} failures, "
            f"{requests} requests\n"
        )


def forget(store: Store, models: Iterable[Checkpoint]) -> Forgotten:
    """Removes the results, failures, requests, unfinished scores and weight distances of models.

    Other models are not changed. A later run that requests a model again computes it again.

    Args:
      store: the store; no run should be scoring these models.
      models: references and revisions; in either, `*`, `?` and `[...]` match the models that the
        store knows, so that `("org/name", "stage1-*")` are all checkpoints of a stage.

    Raises InputError, and removes nothing, if the store does not know one of them.
    """
    entries = store.entries()
    failures, asked = store.failures(), store.asked()
    known = {(entry.identity.ref, entry.identity.revision) for entry in entries}
    known |= {(failure.item.ref, failure.item.revision) for failure in failures}
    known |= {(item.ref, item.revision) for item in asked}
    wanted = {found for model in models for found in matching(model, known, store.path)}

    counts = {model: [0, 0, 0] for model in wanted}
    # Requests first, so that an interrupted call leaves nothing that counts as missing.
    for item in asked:
        if (model := (item.ref, item.revision)) in wanted:
            counts[model][2] += 1
            partial_path(store.path, item).unlink(missing_ok=True)
    _forget_requests(store, wanted)
    for failure in failures:
        if (model := (failure.item.ref, failure.item.revision)) in wanted:
            counts[model][1] += 1
            store.failure_path(failure.item).unlink(missing_ok=True)
    for entry in entries:
        if (model := (entry.identity.ref, entry.identity.revision)) in wanted:
            counts[model][0] += 1
            for path in entry.paths:
                path.unlink(missing_ok=True)
    _forget_distances(store, wanted, known - wanted, store.names)
    rows = [(checkpoint_name(*model), a, b, c) for model, (a, b, c) in counts.items()]
    return Forgotten(tuple(sorted(rows, key=lambda row: natural_key(row[0]))))


def _forget_requests(store: Store, wanted: set[Checkpoint]) -> None:
    """Rewrites the requests without these models; each old file is removed after the new one."""
    for path in sorted((store.path / "asked").glob("*.json")):
        try:
            run = decode_requested(path)
        except CorruptError:
            continue  # counts as absent
        kept = [item for item in run.items if (item.ref, item.revision) not in wanted]
        if len(kept) == len(run.items):
            continue
        if kept:
            items = [item.facts for item in kept]
            facts = {"created": now(), "command": run.command, "items": items}
            name = hash_facts({"items": items})[:16]
            write_atomic(path.with_name(f"{name}.json"), encode_json(facts))
        path.unlink(missing_ok=True)


def _forget_distances(
    store: Store, wanted: set[Checkpoint], others: set[Checkpoint], names: Names
) -> None:
    """Removes the distances of checkpoints whose step in a run no other model of the store has."""
    stays = {(name.run_name, name.time) for name in (names.parse(*other) for other in others)}
    rows = DistanceTable(store.path)
    for name in sorted({names.parse(*model) for model in wanted}, key=lambda one: one.run_name):
        if name.time is not None and (name.run_name, name.time) not in stays:
            rows.forget(name.run_name, name.time)

"""The state of a store: what is done, failed and missing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxmap.errors import without_name
from jaxmap.results import Table
from jaxmap.store import Store
from jaxmap.store.garbage_collection import garbage_collection_paused
from jaxmap.store.heartbeat import Seen, Workers
from jaxmap.store.identical_checkpoints import IdenticalCheckpoints, identical_checkpoints
from jaxmap.store.record import Entry, checkpoint_name
from jaxmap.store.requests import Failure, Item
from jaxmap.store.run_progress import bar, outlook
from jaxmap.store.token_rules import TokenCheck, check_tokens
from jaxmap.store.weight_distances import DistanceTable

SHOWN = 20  # the largest number of lines of each list


@dataclass(frozen=True)
class StatusReport(Table):
    """The state of a store."""

    file = "status.csv"
    columns = ("model", "state", "reason", "format", "bits_per_weight", "gib")

    path: Path
    num_texts: int
    mean_bytes: float
    source: str
    results: list[str]  # the labels of an export's rows
    done: list[Item]
    failed: list[Failure]
    missing: list[Item]
    superseded: list[Entry]
    corrupt: dict[Path, str]
    distances: tuple[int, int]  # weight distances: (present, requested)
    workers: list[Seen]
    identical: list[IdenticalCheckpoints]
    commands: Sequence[str] = ()  # the commands that requested failed or missing items
    tokens: TokenCheck | None = None  # results scored by an earlier token rule
    entries: Sequence[Entry] = ()  # an export's rows
    suspects: Sequence[str] = ()  # checkpoints that a user should check, one per line
    not_asked: Sequence[str] = ()  # models whose Hub has more than was asked for, a line each

    @property
    def complete(self) -> bool:
        """Whether everything requested is done."""
        there, asked = self.distances
        return not (self.failed or self.missing) and there == asked

    @property
    def num_asked(self) -> int:
        """The number of requested items."""
        return len(self.done) + len(self.failed) + len(self.missing)

    def rows(self) -> list[tuple[object, ...]]:
        """One row per requested item.

        It has the label, the state (done, failed or missing), the reason of a failure, and for done
        items the storage of the weights, with bits and GiB if they are known.
        """
        none = (None, None, None)
        by_name = defaultdict[tuple[str, str | None], list[Entry]](list)
        for entry in self.entries:
            by_name[entry.identity.ref, entry.identity.revision].append(entry)

        def size(item: Item) -> tuple[object, ...]:
            found = filter(item.matches, by_name[item.ref, item.revision])
            return next((_size(entry) for entry in found), none)

        return [
            *((item.label, "done", "", *size(item)) for item in self.done),
            *((one.item.label, "failed", one.reason, *none) for one in self.failed),
            *((item.label, "missing", "", *none) for item in self.missing),
        ]

    def text(self) -> str:
        """A summary, with one line for everything that may need attention."""
        done = f"{len(self.done):,} of {self.num_asked:,} asked for"
        if self.results and not self.num_asked:
            done = "nothing was asked for here: the results were imported, pulled or derived"
        lines = [
            f"store       {self.path}",
            f"texts       {self.num_texts}, {self.mean_bytes:.1f} bytes each on average, "
            f"from {self.source}",
            f"results     {len(self.results):,}",
            f"done        {done}",
            f"failed      {len(self.failed):,}",
            *_some(map(failure_line, self.failed)),
            f"missing     {len(self.missing):,}",
            *_some(item.label for item in self.missing),
        ]
        if any(seen.lives for seen in self.workers) and self.num_asked:
            shown = bar(len(self.done), self.num_asked)
            left = outlook(self.complete, len(self.missing), self.workers)
            lines.append(f"progress    {shown} {left}")
        copies = [e for e in self.entries if e.bits is not None and e.variant.is_output]
        if copies:
            copies.sort(key=lambda entry: entry.num_bytes or 0)
            lines += [
                f"copies      {len(copies)} in fewer than 16 bits, the smallest first",
                *_some(map(_of_copy, copies)),
            ]
        there, asked_for = self.distances
        if asked_for:
            lines.append(f"distances   {there:,} of {asked_for:,} between weights")
        if self.workers:
            lines += [
                f"running     {sum(seen.lives for seen in self.workers)} (`watch` shows more)",
                *_some(map(_of_worker, self.workers)),
            ]
        if self.superseded:
            lines += [
                f"superseded  {len(self.superseded)} (newer weights under the same name are shown)",
                *_some(
                    f"{entry.label} of commit {entry.identity.commit[:12]}"
                    for entry in self.superseded
                ),
            ]
        if self.identical:
            lines += [
                f"identical   {len(self.identical)} (checkpoints of one run that are the same)",
                *_some(map(str, self.identical)),
            ]
        if self.not_asked:
            lines += [
                "on the Hub  more than was asked for (`hub` lists again)",
                *_some(self.not_asked),
            ]
        if self.suspects:
            lines += [
                f"suspect     {len(self.suspects)} (kept, unless `leave_out` of an analysis names "
                "their kind)",
                *_some(self.suspects),
            ]
        if self.corrupt:
            lines += [
                f"corrupt     {len(self.corrupt)} (count as missing)",
                *_some(f"{path}: {why}" for path, why in self.corrupt.items()),
            ]
        lines += self._tokens()
        if not self.complete:
            lines.append(
                "To resume or retry, run the same command again: finished results are kept."
            )
            lines += _some(self.commands)
        return "\n".join(lines) + "\n"

    def _tokens(self) -> list[str]:
        """Lines about results that were scored by an earlier token rule."""
        if self.tokens is None:
            return []
        changed, unknown = (
            list(dict.fromkeys(checkpoint_name(e.identity.ref, e.identity.revision) for e in some))
            for some in (self.tokens.changed, self.tokens.unknown)
        )
        lines = []
        if changed:
            lines += [
                f"tokens      {len(changed)} models were scored on other tokens than today's rule "
                "gives; to score them again, `jaxmap forget` them and run the command again",
                *_some(changed),
            ]
        if unknown:
            lines += [
                f"tokens      {len(unknown)} models were scored by an earlier token rule, and "
                "their tokenizer or the texts are not on this machine to compare",
                *_some(unknown),
            ]
        return lines


@garbage_collection_paused()
def status(
    store: Store,
    rows: DistanceTable | None = None,
    workers: Workers | None = None,
    *,
    compare_tokens: bool = True,
) -> StatusReport:
    """Compares what was requested with what is in the store.

    `rows` and `workers` may come from an earlier call, so that no file is read twice. With
    `compare_tokens`, results of an earlier token rule are compared with today's, which reads their
    tokenizers and the texts if they are on this machine.
    """
    rows = rows or DistanceTable(store.path)
    failed = store.failures()
    missing = store.missing()
    shown, superseded = store.arranged()
    asked = store.asked()
    open_items = {failure.item for failure in failed} | set(missing)
    return StatusReport(
        path=store.path,
        num_texts=len(store.texts.text_bytes),
        mean_bytes=store.texts.mean_bytes,
        source=store.texts.source,
        results=[entry.label for entry in shown],
        entries=shown,
        tokens=check_tokens(store, shown) if compare_tokens else None,
        done=[item for item in asked if item not in open_items],
        failed=failed,
        missing=missing,
        superseded=superseded,
        corrupt=store.corrupt() | rows.corrupt(),
        distances=rows.count(),
        workers=(workers or Workers(store.path)).seen(),
        identical=identical_checkpoints(shown),
        commands=store.commands(open_items or asked),
    )


def _size(entry: Entry) -> tuple[object, ...]:
    gib = None if entry.num_bytes is None else entry.num_bytes / 2**30
    return entry.file_type, entry.bits_per_weight, gib


def _of_copy(entry: Entry) -> str:
    bits, size = entry.bits_per_weight or 0.0, (entry.num_bytes or 0) / 2**30
    return f"{entry.label}: {entry.file_type}, {bits:.3g} bits per weight, {size:.3g} GiB"


def failure_line(failure: Failure) -> str:
    """The item and the reason, in which the model's name is not repeated."""
    item = failure.item
    name = checkpoint_name(item.ref, item.revision)
    return f"{item.label}: {without_name(failure.reason, item.label, name, item.ref)}"


def _of_worker(seen: Seen) -> str:
    worker = seen.worker
    if not seen.lives:
        return f"{worker.host} {worker.pid}: gone, it was at {worker.item or 'nothing'}"
    item = worker.item or worker.doing or "between two items"
    if worker.item and worker.texts_of:
        item += f" ({worker.texts:,} of {worker.texts_of:,} texts)"
    return f"{worker.host} {worker.pid}: {item}"


def _some(lines: Iterable[str]) -> list[str]:
    every = list(lines)
    shown = [f"  {line}" for line in every[:SHOWN]]
    return shown + ([f"  ... and {len(every) - SHOWN} more"] if len(every) > SHOWN else [])

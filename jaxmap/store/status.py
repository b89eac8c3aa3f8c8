"""`jaxmap status`: what of a store is done, failed and missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from jaxmap.store import Store
from jaxmap.store.record import Entry
from jaxmap.store.work import Failure, Item

SHOWN = 20  # lines of each list


@dataclass(frozen=True)
class StatusReport:
    """The state of a store; `text()` is for people."""

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

    @property
    def complete(self) -> bool:
        """Whether all that was asked for is done."""
        return not (self.failed or self.missing)

    def text(self) -> str:
        """A short table, one line a thing that needs a look."""
        asked = len(self.done) + len(self.failed) + len(self.missing)
        lines = [
            f"store       {self.path}",
            f"texts       {self.num_texts}, {self.mean_bytes:.1f} bytes each on average, "
            f"from {self.source}",
            f"results     {len(self.results)}",
            f"done        {len(self.done)} of {asked} asked for",
            f"failed      {len(self.failed)}",
            *_some(f"{one.item.label}: {one.reason}" for one in self.failed),
            f"missing     {len(self.missing)}",
            *_some(item.label for item in self.missing),
        ]
        if self.superseded:
            lines += [
                f"superseded  {len(self.superseded)} (newer weights under the same name are shown)",
                *_some(
                    f"{entry.label} of commit {entry.identity.commit[:12]}"
                    for entry in self.superseded
                ),
            ]
        if self.corrupt:
            lines += [
                f"corrupt     {len(self.corrupt)} (count as missing)",
                *_some(f"{path}: {why}" for path, why in self.corrupt.items()),
            ]
        if not self.complete:
            lines.append(
                "To go on or retry, run the same command again: what is done is not computed again."
            )
        return "\n".join(lines) + "\n"


def status(store: Store) -> StatusReport:
    """Compares what was asked for with what is there."""
    failed = store.failures()
    missing = store.missing()
    open_items = {failure.item for failure in failed} | set(missing)
    return StatusReport(
        path=store.path,
        num_texts=len(store.texts.text_bytes),
        mean_bytes=store.texts.mean_bytes,
        source=store.texts.source,
        results=[entry.label for entry in store.records()],
        done=[item for item in store.asked() if item not in open_items],
        failed=failed,
        missing=missing,
        superseded=store.superseded(),
        corrupt=store.corrupt(),
    )


def _some(lines: Iterable[str]) -> list[str]:
    every = list(lines)
    shown = [f"  {line}" for line in every[:SHOWN]]
    return shown + ([f"  ... and {len(every) - SHOWN} more"] if len(every) > SHOWN else [])

"""A live table of all processes that work on a store."""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TextIO

from jaxmap.store import Store
from jaxmap.store.heartbeat import INTERVAL, Seen, Workers
from jaxmap.store.run_progress import bar, duration, outlook, rate_text
from jaxmap.store.status import StatusReport, failure_line, status
from jaxmap.store.weight_distances import DistanceTable

SHOWN = 5  # the largest number of failures shown
_SILENT = 4 * INTERVAL  # seconds without a beat from which the table mentions it
_COLUMNS = ("worker", "beat", "scored", "found", "failed", "an hour", "texts/s", "now at")


def watch(
    store: Store,
    out: TextIO,
    seconds: float,
    *,
    sleep: Callable[[float], object] = time.sleep,
) -> StatusReport:
    """Shows the table every `seconds` seconds until nothing is left to do; returns the last state.

    On a terminal the table stays in place; elsewhere tables follow each other. It ends when
    everything requested is done, when the rest has failed and no worker is running, and at Ctrl-C.
    """
    report = None
    rows, workers = DistanceTable(store.path), Workers(store.path)
    terminal = out.isatty()
    try:
        while True:
            report = status(store, rows, workers, compare_tokens=False)
            text = table(report, datetime.now(UTC))
            if terminal:
                size = shutil.get_terminal_size()
                lines = [line[: size.columns - 1] for line in text.splitlines()]
                out.write("\x1b[H\x1b[J" + "\n".join(lines[: size.lines - 1]) + "\n")
            else:
                out.write(text + "\n")
            out.flush()
            works = any(seen.lives for seen in report.workers)
            if (report.complete and (report.done or not works)) or gave_up(report):
                return report
            sleep(seconds)
    except KeyboardInterrupt:
        return report or status(store, rows, workers, compare_tokens=False)


def gave_up(report: StatusReport) -> bool:
    """Whether everything was tried, some items failed, and no running worker could retry them."""
    return not (report.complete or report.missing or any(seen.lives for seen in report.workers))


def table(report: StatusReport, now: datetime) -> str:
    """The table: what is done, the rate, the remaining time, and each worker."""
    living = [seen for seen in report.workers if seen.lives]
    asked, (there, wanted) = report.num_asked, report.distances
    if asked or not report.results:
        done = (
            f"{bar(len(report.done), asked)} {len(report.done):,} of {asked:,} done, "
            f"{len(report.failed):,} failed, {len(report.missing):,} to do, {len(living)} running"
        )
    else:
        done = f"{len(report.results):,} results, none of which was asked for here"
    lines = [
        f"{report.path}   {now:%H:%M:%S} UTC",
        done,
        outlook(report.complete, len(report.missing), report.workers),
    ]
    if wanted:
        lines.append(f"{there:,} of {wanted:,} distances between weights")
    if report.workers:
        lines += ["", *_aligned([_COLUMNS, *map(_cells, report.workers)])]
    if report.failed:
        lines += ["", "failed (run the same command again to retry):"]
        lines += [f"  {failure_line(one)}" for one in report.failed[:SHOWN]]
        if len(report.failed) > SHOWN:
            lines.append(f"  ... and {len(report.failed) - SHOWN} more")
    return "\n".join(lines) + "\n"


def _cells(seen: Seen) -> tuple[str, ...]:
    worker = seen.worker
    rate, texts = 3600 * worker.items_per_second, worker.texts_per_second
    beat = "?" if math.isnan(seen.age) else duration(seen.age)
    item = worker.item or worker.doing or "-"
    if worker.texts_of:
        item += f" ({worker.texts:,} of {worker.texts_of:,} texts)"
    elif worker.item and worker.doing == "compiling":
        item += " (compiling)"
    if not seen.lives:
        item = f"gone; was at {item}"
    elif seen.age > _SILENT:
        item = f"silent; at {item}"
    return (
        f"{worker.host} {worker.pid}",
        beat,
        str(worker.scored),
        str(worker.found),
        str(worker.failed),
        "-" if math.isnan(rate) or not seen.lives else rate_text(rate),
        "-" if math.isnan(texts) or not seen.lives else rate_text(texts),
        item,
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns of equal width, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    last = len(widths) - 1
    return [
        "  ".join(
            cell if i == last else cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]

"""Tables as .csv files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxmap.atomic import write_atomic


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Writes a table that fits in memory, whole or not at all; returns its path."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    # Names of folders may hold bytes that are no UTF-8: they are written as they are.
    write_atomic(path, text.getvalue().encode("utf-8", errors="surrogateescape"))
    return path

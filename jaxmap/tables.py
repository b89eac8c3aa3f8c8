"""Tables as .csv files and as data frames."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxmap.atomic import write_atomic

if TYPE_CHECKING:
    import pandas


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """Writes a table that fits in memory, whole or not at all; returns its path.

    Floats are written with all their digits, None as an empty cell.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    # Names of folders may hold bytes that are no UTF-8: they are written as they are.
    write_atomic(path, text.getvalue().encode("utf-8", errors="surrogateescape"))
    return path


def to_frame(header: Sequence[str], rows: Iterable[Sequence[object]]) -> pandas.DataFrame:
    """The same table as a data frame; None in a column of numbers is NaN."""
    import pandas

    return pandas.DataFrame.from_records(list(rows), columns=list(header))

"""The result of every public function: an object with `to_dataframe`, `draw` and `save`."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from jaxmap.tables import to_frame, write_csv

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


class Result(abc.ABC):
    """The outcome of one command: a table, figures, and the files that the command writes.

    Subclasses hold plain arrays and values; nothing is read from a store or drawn before it is
    asked for.
    """

    @abc.abstractmethod
    def to_dataframe(self) -> pandas.DataFrame:
        """The main table, one row per result, with the columns of the command's .csv file."""

    @abc.abstractmethod
    def save(self, folder: str | Path) -> list[Path]:
        """Writes what the command writes into `folder`, which is made, and names each file."""

    def draw(self) -> dict[str, Figure]:
        """The matplotlib figures, by the names of the files that `save` writes; may be empty."""
        return {}

    def _repr_html_(self) -> str:
        """The table, as a notebook shows it."""
        return self.to_dataframe().to_html(max_rows=20, index=False)


class Table(Result):
    """A result that is one table, which `save` writes as a .csv file."""

    file: ClassVar[str]  # what `save` calls the file, ending in .csv
    columns: ClassVar[Sequence[str]]

    @abc.abstractmethod
    def rows(self) -> Sequence[Sequence[object]]:
        """The rows, in the order of the columns."""

    def to_dataframe(self) -> pandas.DataFrame:
        """The table."""
        return to_frame(self.columns, self.rows())

    def write(self, path: str | Path) -> Path:
        """Writes the table to a .csv file of this name."""
        return write_csv(Path(path), self.columns, self.rows())

    def save(self, folder: str | Path) -> list[Path]:
        """Writes the table into `folder`, which is made, and names the file."""
        return [self.write(Path(folder) / self.file)]

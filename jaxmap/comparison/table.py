"""The table of a comparison: compare.csv with all digits, compare.md for a model card."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from jaxmap.atomic import write_atomic
from jaxmap.comparison.details import ALL, Detail
from jaxmap.comparison.details import COLUMNS as DETAIL_COLUMNS
from jaxmap.comparison.estimates import Estimate
from jaxmap.comparison.model_card import card
from jaxmap.comparison.page import page_about
from jaxmap.comparison.sides import INSTEAD
from jaxmap.comparison.stored_comparison import Numbers, Pair
from jaxmap.comparison.subsets import TextRow
from jaxmap.comparison.table_row import COLUMNS, TableRow, row_of
from jaxmap.comparison.token_views import TextView
from jaxmap.errors import InputError, JaxmapError, without_name
from jaxmap.figures.digits import number, with_error
from jaxmap.figures.figure import Figures
from jaxmap.reports.model_names import shown_names
from jaxmap.results import Table
from jaxmap.tables import to_frame, write_csv

if TYPE_CHECKING:
    import pandas


TEXT_COLUMNS = ("reference", "model", *(field.name for field in dataclasses.fields(TextRow)))


class Floor(NamedTuple):
    """A model beside itself in another arithmetic: how much of a divergence may be rounding."""

    dtype: str
    token_kl: Estimate  # nats
    kl: Estimate  # the estimator of the papers, bits per byte
    same_top_token: float


class Compared(NamedTuple):
    """A model, a copy or a layer beside the reference.

    Fields:
      row: its row of the table.
      details: all statistics.
      floor: the model beside itself in another arithmetic, if that was asked.
      worst: the texts that differ most.
      views: some of them, and a typical one, token by token.
      other_tokens: how its tokens differ from the reference's; "": they do not.
      layer: the layer that was read through a lens; None: the model's own output.
    """

    row: TableRow
    details: tuple[Detail, ...]
    floor: Floor | None = None
    worst: tuple[TextRow, ...] = ()
    views: tuple[TextView, ...] = ()
    other_tokens: str = ""
    layer: int | None = None

    def of_all_tokens(self, statistic: str) -> Estimate:
        """A statistic of all tokens with its error; NaN if it has none of that name."""
        for one in self.details:
            if (one.subset, one.statistic) == (ALL, statistic):
                return Estimate(one.value, one.standard_error)
        return Estimate(math.nan, math.nan)

    @property
    def delta_bits_per_byte(self) -> Estimate:
        """The change in bits per byte with its error."""
        return self.of_all_tokens("delta_bits_per_byte")


def floor_of(pair: Pair, found: Numbers, bytes_N: np.ndarray) -> Floor:
    """The floor that a comparison of a model with itself shows."""
    row = row_of(pair, found, bytes_N)
    return Floor(
        pair.dtype,
        Estimate(row.token_kl_nats, row.token_kl_standard_error),
        Estimate(row.kl_bits_per_byte, row.kl_standard_error),
        row.same_top_token,
    )


@dataclasses.dataclass(frozen=True)
class Comparison(Table):
    """What `compare` found: one row per model, and (model, error) of those that failed.

    Fields:
      reference: its name.
      compared: each model beside it.
      texts_fingerprint: of the text set.
      reference_floor: the reference beside itself in another arithmetic, where it was asked.
      failures: the models that could not be compared, with the errors.
      command: the command that made the comparison; "": not known.
      page: whether `save` writes compare.html.
    """

    file = "compare.csv"
    columns = COLUMNS
    figure_name: ClassVar[str] = "kl_and_size"

    reference: str
    compared: tuple[Compared, ...]
    texts_fingerprint: str
    reference_floor: Floor | None = None
    failures: tuple[tuple[str, JaxmapError], ...] = ()
    command: str = ""
    page: bool = False

    @property
    def names(self) -> tuple[str, list[str]]:
        """The reference and each model by the names that reports show, without their folders."""
        labels = [self.reference, *(one.row.model for one in self.compared)]
        unique = list(dict.fromkeys(labels))
        shown = dict(zip(unique, shown_names(unique), strict=True))
        return shown[self.reference], [shown[label] for label in labels[1:]]

    def why_no_token_kl(self, one: Compared) -> str:
        """How a model's tokens differ from the reference's, with the reference's shown name."""
        return one.other_tokens.replace(self.reference, self.names[0])

    @property
    def found(self) -> tuple[TableRow, ...]:
        """The rows of the table."""
        return tuple(one.row for one in self.compared)

    def rows(self) -> list[tuple[object, ...]]:
        """The rows of compare.csv."""
        return [_cells(row) for row in self.found]

    def details(self) -> pandas.DataFrame:
        """All statistics with their standard errors, the columns of compare_statistics.csv."""
        return to_frame(DETAIL_COLUMNS, self._detail_rows())

    def _detail_rows(self) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        for one in self.compared:
            names = one.row.reference, one.row.model
            rows += [(*names, *dataclasses.astuple(detail)) for detail in one.details]
            rows += _floor_rows(one.row.model, one.floor, one.row)
        if self.compared:
            rows += _floor_rows(self.reference, self.reference_floor, self.found[0])
        return rows

    def raise_for_failures(self) -> None:
        """Raises JaxmapError, InputError where only bad input stood in the way, if any failed."""
        if self.failures:
            only_input = all(isinstance(error, InputError) for _, error in self.failures)
            reasons = "; ".join(
                f"{name}: {without_name(error, name)}" for name, error in self.failures
            )
            raise (InputError if only_input else JaxmapError)(reasons)

    def save(self, folder: str | Path) -> list[Path]:
        """Writes the table, compare_statistics.csv, compare_texts.csv, compare.md and, if `page`,
        compare.html into `folder`, which is made if it does not exist; returns the paths."""
        folder = Path(folder)
        page = folder / "compare.md"
        write_atomic(page, self.markdown().encode("utf-8", errors="surrogateescape"))
        details = folder / "compare_statistics.csv"
        write_csv(details, DETAIL_COLUMNS, self._detail_rows())
        texts = folder / "compare_texts.csv"
        write_csv(texts, TEXT_COLUMNS, self._text_rows())
        files = [*super().save(folder), details, texts, page]
        if self.page and self.compared:
            files.append(folder / "compare.html")
            write_atomic(files[-1], page_about(self).encode("utf-8", errors="replace"))
        return files

    def _text_rows(self) -> list[tuple[object, ...]]:
        return [
            (one.row.reference, one.row.model, *_cells(text))
            for one in self.compared
            for text in one.worst
        ]

    def draw(self) -> Figures:
        """kl_and_size, KL against size, of two models or more; kl_by_layer, if layers were read."""
        from jaxmap.figures import kl_and_size, kl_by_layer

        return Figures(
            {self.figure_name: kl_and_size.draw(self), "kl_by_layer": kl_by_layer.draw(self)}
        )

    def markdown(self) -> str:
        """The table for a model card, with errors and rounded to what they leave."""
        return card(self)

    def text(self, *, failures: bool = True) -> str:
        """The table as plain text, and one line per failure if `failures`."""
        lines = []
        for one in self.compared:
            row = one.row
            kl = with_error(row.token_kl_nats, row.token_kl_standard_error)
            variance = with_error(row.kl_bits_per_byte, row.kl_standard_error)
            lines += [
                f"{row.model} beside {row.reference}: {row.texts:,} texts, {row.tokens:,} tokens"
            ]
            if one.other_tokens:
                lines += [f"  no token KL: {one.other_tokens}. {INSTEAD}"]
            else:
                lines += [
                    f"  token KL {kl} nats (median {number(row.token_kl_median)}, 99 % "
                    f"{number(row.token_kl_p99)}; reverse {number(row.token_kl_reverse_nats)})",
                    f"  same top token {row.same_top_token:.1%}",
                ]
            lines += [
                f"  bits per byte {number(row.bits_per_byte)} "
                f"(change {with_error(*one.delta_bits_per_byte, signed=True)})",
                f"  KL from the variance over texts {variance} bits per byte",
                *_floor_lines(one.floor),
            ]
        if self.reference_floor is not None:
            lines += [f"{self.reference} beside itself:", *_floor_lines(self.reference_floor)]
        if failures:
            lines += [
                f"{name}: not compared: {without_name(error, name)}"
                for name, error in self.failures
            ]
        return "\n".join([*lines, ""])


def _cells(row: TableRow | TextRow) -> tuple[object, ...]:
    """The values of a row; empty in place of NaN."""
    values = dataclasses.astuple(row)
    return tuple(None if isinstance(one, float) and math.isnan(one) else one for one in values)


def _floor_rows(model: str, floor: Floor | None, row: TableRow) -> list[tuple[object, ...]]:
    if floor is None:
        return []
    counts = row.tokens, row.texts
    subset = f"floor {floor.dtype}"
    return [
        (model, model, subset, "token_kl", "nats", *floor.token_kl, *counts),
        (model, model, subset, "kl", "bits/byte", *floor.kl, *counts),
        (model, model, subset, "same_top_token", "", floor.same_top_token, math.nan, *counts),
    ]


def _floor_lines(floor: Floor | None) -> list[str]:
    if floor is None:
        return []
    return [
        f"  itself in {floor.dtype}: token KL {with_error(*floor.token_kl)} nats, KL "
        f"{with_error(*floor.kl)} bits per byte, same top token {floor.same_top_token:.1%}"
    ]

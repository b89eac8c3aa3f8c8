"""`jaxmap reproduce`: every table and figure of the published results, and a page of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.analysis.context import Context
from jaxmap.analysis.diffusion import Diffusion, measure_diffusion
from jaxmap.analysis.map_selection import make_atlas
from jaxmap.analysis.maps import Atlas
from jaxmap.analysis.notes import Note
from jaxmap.analysis.published import RunGroup, without_excluded_gaps
from jaxmap.analysis.scale import Scale, measure_scale
from jaxmap.atomic import write_atomic
from jaxmap.errors import InputError
from jaxmap.figures import published as figures
from jaxmap.figures.figure import Figures, save_figures
from jaxmap.figures.legend import kind_colors
from jaxmap.figures.style import FAINT
from jaxmap.progress import progress
from jaxmap.reports import reproduction_page
from jaxmap.results import Result
from jaxmap.stats.embed import procrustes
from jaxmap.tables import to_frame, write_csv

if TYPE_CHECKING:
    import pandas

GROUP_COLUMNS = (
    "group", "runs", "checkpoints", "floor", "scores_raised", "texts", "texts_dropped",
    "texts_kept", "mean_bytes",
)  # fmt: skip
DRIFT_COLUMNS = ("group", "text", "bytes", "largest_change", "dropped")
COORDINATE_COLUMNS = ("map", "points", "perplexity", "coordinates", "procrustes")
OTHERS = "others"  # what a release calls the types without a colour
MAPS = ("trajectories", "8-bit", "families", "layers")


@dataclass(frozen=True)
class MapCoordinates:
    """Where the coordinates of a published map come from.

    released: whether they are those of the release; procrustes: the disparity between these and
    t-SNE computed anew (`stats.embed.procrustes`), NaN where there are none or none was computed.
    """

    name: str
    points: int
    perplexity: float
    released: bool
    procrustes: float


@dataclass(frozen=True)
class Reproduction(Result):
    """The published tables and figures from a store that was imported from the released data."""

    context: Context
    scale: Scale
    diffusion: Diffusion | None
    atlas: Atlas
    coordinates: tuple[MapCoordinates, ...]
    remarks: tuple[Note, ...] = ()  # on the files

    @property
    def groups(self) -> tuple[RunGroup, ...]:
        """The groups of runs, each cleaned by itself."""
        return self.context.published_groups.found

    @property
    def notes(self) -> tuple[Note, ...]:
        """What was left out, changed and chosen, each once."""
        said = [*self.remarks, *self.scale.notes, *(self.diffusion.notes if self.diffusion else ())]
        said += [note for group in self.groups for note in group.notes]
        said += self.atlas.notes
        return tuple(dict.fromkeys(said))

    def to_dataframe(self) -> pandas.DataFrame:
        """The ten settings, with the columns of scale.csv."""
        return self.scale.to_dataframe()

    def groups_dataframe(self) -> pandas.DataFrame:
        """One row per group that was cleaned by itself, with the columns of groups.csv."""
        return to_frame(GROUP_COLUMNS, self._group_rows())

    def draw(self) -> Figures:
        """figure1 to figure5, those that the data fill."""
        return self._figures

    @cached_property
    def _figures(self) -> Figures:
        moves = self.diffusion
        return Figures(
            figure1=figures.figure_1(self.atlas),
            figure2=figures.figure_2(self.atlas, self._colors()),
            figure3=self.scale.draw().get("scale"),
            figure4=figures.figure_4(moves.consecutive) if moves else None,
            figure5=_figure_5(moves) if moves else None,
        )

    def save(self, folder: str | Path) -> list[Path]:
        """Writes the tables, figure1 to figure5 as .png, .svg and .pdf, and index.html."""
        folder = Path(folder)
        scale, moves = self.scale, self.diffusion
        files = scale.write_tables(folder)
        files += moves.write_tables(folder) if moves else []
        files += [
            write_csv(folder / "groups.csv", GROUP_COLUMNS, self._group_rows()),
            write_csv(folder / "text_drift.csv", DRIFT_COLUMNS, self._drift_rows()),
            write_csv(folder / "coordinates.csv", COORDINATE_COLUMNS, self._coordinate_rows()),
        ]
        files += save_figures(self.draw(), folder)
        page = folder / "index.html"
        write_atomic(page, self.html.encode("utf-8", errors="replace"))
        return [*files, page]

    def text(self) -> str:
        """For people: the table of the scale, the groups, the maps, and the notes."""
        lines = [line for line in self.scale.text().splitlines() if line]
        for row in self._group_rows():
            said = zip(GROUP_COLUMNS[1:], row[1:], strict=True)
            lines.append(f"{row[0]}: " + ", ".join(f"{name} {value}" for name, value in said))
        lines += [f"{one.name}: {_said(one)}" for one in self.coordinates]
        return "\n".join(lines) + "\n"

    # Tables

    def _group_rows(self) -> Iterator[tuple[object, ...]]:
        for group in self.groups:
            pre = group.cleaned
            dropped = pre.dropped
            yield (
                group.name, len(pre.runs), len(pre.ll_KN), dropped.floor, dropped.clipped,
                len(pre.texts) + len(dropped.texts), len(dropped.texts), len(pre.texts),
                pre.mean_bytes,
            )  # fmt: skip
        texts = self.context.store.texts
        count = len(texts.text_bytes)
        yield "models", 0, 0, None, 0, count, 0, count, texts.mean_bytes

    def _drift_rows(self) -> Iterator[tuple[object, ...]]:
        text_bytes = self.context.store.texts.text_bytes.tolist()
        for group in self.groups:
            dropped = set(group.cleaned.dropped.texts.tolist())
            for text, (size, jump) in enumerate(
                zip(text_bytes, group.cleaned.dropped.jump_N.tolist(), strict=True)
            ):
                yield group.name, text, size, jump, "yes" if text in dropped else "no"

    def _coordinate_rows(self) -> Iterator[tuple[object, ...]]:
        for one in self.coordinates:
            source = "released" if one.released else "computed"
            far = one.procrustes if np.isfinite(one.procrustes) else None
            yield one.name, one.points, one.perplexity, source, far

    def _colors(self) -> dict[str, str]:
        """Of the types of models: as released, else the usual ones."""
        from matplotlib.colors import to_hex

        kinds = [kind for one in self.atlas.maps for kind in one.kinds if one.name in MAPS[1:]]
        usual = kind_colors(kinds)
        known = (
            {k: to_hex(v) for k, v in (self.context.release.colors or {}).items()}
            if self.context.release
            else {}
        )
        if not known:
            return {kind: color for kind, color in usual.items() if kind}
        shown = {kind: color for kind, color in known.items() if kind in usual}
        return shown | {OTHERS: known.get(OTHERS, FAINT)}

    def said_of_coordinates(self, figure: str) -> list[str]:
        """Where the coordinates of figure1 or figure2 come from, a sentence for each map."""
        shown = {"figure1": MAPS[:1], "figure2": MAPS[1:]}.get(figure, ())
        return [f"{one.name}: {_said(one)}." for one in self.coordinates if one.name in shown]

    @cached_property
    def html(self) -> str:
        """The page: tables, figures, methods, notes; one file that opens offline."""
        return reproduction_page.page(self)


def measure_reproduction(
    context: Context, *, compare_tsne: bool = True, notes: tuple[Note, ...] = ()
) -> Reproduction:
    """All published results of a store that was imported from the released data.

    Without `compare_tsne` t-SNE is computed only where no released coordinates fit. `notes` are
    remarks on the files.
    """
    scale = measure_scale(context)
    try:
        moves = measure_diffusion(context)
    except InputError:  # no run that is long enough
        moves = None
    atlas = make_atlas(context)
    found = []
    maps = [one for name in MAPS if (one := atlas.find(name)) is not None]
    with progress(len(maps), "t-SNE", "map") as bar:
        for one in maps:
            released = one.released_xy_K2
            far = float("nan")
            if released is not None and compare_tsne and (anew := one.computed_tsne) is not None:
                far = procrustes(released, anew.xy_K2)
            found.append(
                MapCoordinates(
                    one.name, len(one.entries), one.perplexity, released is not None, far
                )
            )
            bar.update()
    return Reproduction(context, scale, moves, atlas, tuple(found), notes)


def _figure_5(moves: Diffusion):
    drawn = replace(moves, exponents=without_excluded_gaps(moves.exponents))
    return drawn.draw().get("diffusion")


def _said(one: MapCoordinates) -> str:
    if not one.released:
        return f"coordinates computed here, the release has none for these {one.points} points"
    if np.isnan(one.procrustes):
        return "released coordinates"
    return f"released coordinates; Procrustes distance to those computed here {one.procrustes:.3g}"

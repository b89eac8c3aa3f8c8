"""`jaxmap map`: the maps of a store, figures 1, 2 and 4, and the shapes of training paths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.analysis.consecutive import Consecutive, measure_consecutive
from jaxmap.analysis.genealogy import generations
from jaxmap.analysis.notes import Note
from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.recipes import Recipe
from jaxmap.analysis.trajectory_shapes import COLUMNS as PATH_COLUMNS
from jaxmap.analysis.trajectory_shapes import PathShape, measure_paths
from jaxmap.figures.figure import Figures, save_figures
from jaxmap.progress import progress
from jaxmap.results import Result
from jaxmap.stats import embed
from jaxmap.stats.centre import coordinates
from jaxmap.stats.divergence import kl_pairs
from jaxmap.stats.embed import PERPLEXITY, Embedding
from jaxmap.store.record import Entry
from jaxmap.tables import to_frame, write_csv

if TYPE_CHECKING:
    import pandas

COLUMNS = (
    "map", "model", "method", "perplexity", "x", "y", "explained_x", "explained_y", "recipe",
    "group", "scores", "format", "bits_per_weight",
)  # fmt: skip
TITLES = {
    "trajectories": "figure 1, training runs",
    "8-bit": "figure 2a, models and their 8-bit versions",
    "4-bit": "figure 2a, models and their 4-bit versions",
    "families": "figure 2b, parents and children",
    "layers": "figure 2c, layers",
    "models": "models",
}

_FEWEST_TSNE = 30  # the fewest models of which t-SNE shows more than principal components


@dataclass(frozen=True)
class Map:
    """The models of one map.

    Fields:
      name: trajectories, models, 8-bit, 4-bit, families or layers.
      entries: the results, [K].
      kinds: the type of each model, "" if unknown.
      ll_KN: their vectors in nats, float64, cleaned by the recipe of the map.
      mean_bytes: the mean bytes of the texts that were kept.
      pairs_P2: pairs of rows that lines join: model and quantised copy, parent and child, adjacent
        layers, successive checkpoints.
      perplexity: the perplexity of t-SNE.
      recipe: the recipe of cleaning.
      group: a name for the results that were cleaned together.
      cleaned: whether they were cleaned, or are raw.
      released_xy_K2: t-SNE coordinates of these rows from the authors' release; None: computed.
    """

    name: str
    entries: tuple[Entry, ...]
    kinds: tuple[str, ...]  # type of each model, "" when not known
    ll_KN: np.ndarray
    mean_bytes: float
    pairs_P2: np.ndarray
    perplexity: float = PERPLEXITY
    recipe: Recipe = "jaxmap"
    group: str = ""
    cleaned: bool = True
    released_xy_K2: np.ndarray | None = None

    @cached_property
    def coordinates(self) -> np.ndarray:
        """Doubly centred vectors, float64 [K, N] in sqrt(bits/byte); squared distances are KL."""
        return coordinates(self.ll_KN, self.mean_bytes)

    @cached_property
    def embeddings(self) -> tuple[Embedding, ...]:
        """t-SNE, if possible, and principal components; computed when first needed."""
        if self.released_xy_K2 is None:
            shown = self.computed_tsne
        else:
            note = "t-SNE: released coordinates"
            shown = Embedding("tsne", self.released_xy_K2, self.perplexity, note=note)
        found = (shown, embed.pca(self.coordinates))
        return tuple(one for one in found if one is not None)

    @property
    def clearest_first(self) -> list[Embedding]:
        """The embeddings: t-SNE of few models says little, principal components most of it."""
        few = len(self.entries) < _FEWEST_TSNE
        return sorted(self.embeddings, key=lambda found: (found.method == "tsne") is few)

    @cached_property
    def computed_tsne(self) -> Embedding | None:
        """t-SNE computed here even if there are released coordinates; None for too few models."""
        as_given = self.recipe == "published"
        return embed.tsne(self.coordinates, self.perplexity, lowered=not as_given)

    @property
    def notes(self) -> tuple[Note, ...]:
        """Notes that a reader of the embeddings needs."""
        missing = embed.tsne_obstacle(self.coordinates)
        said = [one.note for one in self.embeddings if one.note]
        return tuple(Note(self.name, one) for one in [*said, *([missing] if missing else [])])

    @property
    def generations(self) -> np.ndarray:
        """1 for a model without a parent on the map, 2 for its children, and so on; int64 [K]."""
        return generations(len(self.entries), self.pairs_P2)


@dataclass(frozen=True)
class RunLine:
    """The line of a run on a map.

    Fields:
      run: the name of the run.
      xy_I2: positions of its saved checkpoints, float64 [I, 2]; NaN for a gap.
      kl_I: the KL from the checkpoint before to each, bits per byte [I]; NaN: none.
    """

    run: str
    xy_I2: np.ndarray
    kl_I: np.ndarray


@dataclass(frozen=True)
class Atlas(Result):
    """The maps of a store, in the order of the papers.

    Fields:
      maps: the maps for which the store has enough models.
      absent: the reasons for the other maps, by name.
      pretraining: the training runs, cleaned, with the times of their axis; None if the store has
        none.
      cleaning: notes about what was dropped and chosen.
      steps: the intervals of figure 4, if they are not those of `pretraining`.
      recipe: the recipe by which results were cleaned and chosen.
    """

    maps: tuple[Map, ...]
    absent: dict[str, str]
    pretraining: Pretraining | None
    cleaning: tuple[Note, ...]
    steps: Consecutive | None = None
    recipe: Recipe = "jaxmap"

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """The types of all models on the maps, each model once; a type has one colour on all."""
        found: dict[str, str] = {}
        for one in self.maps:
            found |= zip((entry.identity.ref for entry in one.entries), one.kinds, strict=True)
        return tuple(found.values())

    @cached_property
    def consecutive(self) -> Consecutive | None:
        """KL between neighbouring checkpoints of each run."""
        if self.steps is not None:
            return self.steps
        return None if self.pretraining is None else measure_consecutive(self.pretraining)

    @cached_property
    def paths(self) -> tuple[PathShape, ...]:
        """The shapes of the training paths."""
        return () if self.pretraining is None else measure_paths(self.pretraining)

    @property
    def notes(self) -> tuple[Note, ...]:
        """Notes about what was dropped and chosen, and what a reader of the maps needs."""
        return (*self.cleaning, *(note for one in self.maps for note in one.notes))

    def find(self, name: str) -> Map | None:
        """The map of this name; None if it is absent."""
        return next((one for one in self.maps if one.name == name), None)

    def run_lines(self, embedding: Embedding) -> list[RunLine]:
        """The lines of runs on an embedding of the map of trajectories; gaps are NaN."""
        pre, found = self.pretraining, []
        if pre is None:
            return []
        for run, rows in zip(pre.runs, pre.rows, strict=True):
            if not (rows >= 0).any():
                continue
            there = (rows[:-1] >= 0) & (rows[1:] >= 0)
            kl_I = np.full(len(rows), np.nan)
            pairs_P2 = np.stack([rows[:-1][there], rows[1:][there]], axis=1)
            kl_I[1:][there] = kl_pairs(pre.ll_KN, pairs_P2, pre.mean_bytes).kl
            xy_I2 = np.where((rows >= 0)[:, None], embedding.xy_K2[rows], np.nan)
            found.append(RunLine(run.name, xy_I2, kl_I))
        return found

    def to_dataframe(self) -> pandas.DataFrame:
        """One row per map, model and method, with the columns of coordinates.csv."""
        return to_frame(COLUMNS, self._rows())

    def draw(self) -> Figures:
        """map_NAME_tsne and map_NAME_pca of each map, and consecutive (figure 4) of runs."""
        from jaxmap.figures import maps

        drawn = {}
        with progress(len(self.maps), "map", "map") as bar:
            for one in self.maps:
                for embedding in one.embeddings:
                    figure = maps.draw(self, one, embedding)
                    drawn[f"map_{one.name}_{embedding.method}"] = figure
                bar.update()
        return Figures(drawn | (self.consecutive.draw() if self.consecutive else {}))

    def save(self, folder: str | Path) -> list[Path]:
        """Writes coordinates.csv, path_statistics.csv if there are runs, and the figures."""
        folder = Path(folder)
        figures = self.draw()
        files = [write_csv(folder / "coordinates.csv", COLUMNS, self._rows())]
        if self.pretraining is not None:
            rows = (one.row() for one in self.paths)
            files.append(write_csv(folder / "path_statistics.csv", PATH_COLUMNS, rows))
        return [*files, *save_figures(figures, folder)]

    def text(self) -> str:
        """The absent maps with the reasons, and the notes, one per line."""
        lines = [f"absent: {TITLES[name]}: {reason}" for name, reason in self.absent.items()]
        return "".join(f"{line}\n" for line in (*lines, *self.notes))

    def _rows(self) -> Iterator[tuple[object, ...]]:
        for one in self.maps:
            for embedding in one.embeddings:
                facts = (embedding.perplexity, *embedding.explained)
                perplexity, *explained = (None if np.isnan(value) else value for value in facts)
                how = (one.recipe, one.group, "cleaned" if one.cleaned else "raw")
                for entry, (x, y) in zip(one.entries, embedding.xy_K2.tolist(), strict=True):
                    place = (one.name, entry.label, embedding.method, perplexity, x, y)
                    yield (*place, *explained, *how, entry.file_type, entry.bits_per_weight)

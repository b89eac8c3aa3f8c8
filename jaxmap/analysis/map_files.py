"""`jaxmap map`: figures 1, 2 and 4, coordinates and the shapes of paths, as the store allows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jaxmap.analysis.maps import Atlas, Map, make_atlas
from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.trajectories import consecutive_of
from jaxmap.errors import InputError
from jaxmap.figures import consecutive, map_layers, map_pairs, map_trajectories, style
from jaxmap.figures.legend import kind_colors
from jaxmap.progress import progress
from jaxmap.stats.centre import coordinates
from jaxmap.stats.clean import WARMUP
from jaxmap.stats.divergence import kl_pairs
from jaxmap.stats.embed import Embedding
from jaxmap.stats.spiral import DRAWS, path_statistics, winding
from jaxmap.store import Store
from jaxmap.tables import write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("map", "model", "method", "perplexity", "x", "y", "explained_x", "explained_y")
PATH_COLUMNS = (
    "trajectory", "from_step", "checkpoints", "length", "net_displacement", "straightness",
    "turns", "p_value", "dimension", "plane_variance",
)  # fmt: skip
FIGURES = {
    "trajectories": "figure 1, training runs",
    "8-bit": "figure 2a, models and their 8-bit versions",
    "4-bit": "figure 2a, models and their 4-bit versions",
    "families": "figure 2b, parents and children",
    "layers": "figure 2c, layers",
    "models": "models",
}


@dataclass(frozen=True)
class PathRow:
    """A training run as a path from a step on: its name, the first step, the number of checkpoints
    kept, and the numbers of `spiral.path_statistics` and `spiral.winding` (None where there are
    too few)."""

    run: str
    from_step: int
    checkpoints: int
    numbers: tuple[float | None, ...]


@dataclass(frozen=True)
class Drawn:
    """Files written, in order; what is absent and why; what was dropped, a line each."""

    files: tuple[Path, ...]
    absent: dict[str, str]
    notes: tuple[str, ...]

    def text(self) -> str:
        """For people."""
        lines = [f"{len(self.files)} files written"]
        lines += [f"absent: {FIGURES[name]}: {reason}" for name, reason in self.absent.items()]
        return "\n".join([*lines, *self.notes]) + "\n"


def draw_map(
    store: Store,
    out: str | os.PathLike[str],
    *,
    warmup: int = WARMUP,
    parents: str | os.PathLike[str] | None = None,
    ask: Callable[[str], tuple[str, ...]] | None = None,
) -> Drawn:
    """Writes OUT/coordinates.csv, OUT/path_statistics.csv and the figures that the store fills.

    Figures: OUT/map_NAME_tsne and OUT/map_NAME_pca with NAME one of trajectories, models, 8-bit,
    4-bit, families and layers, and OUT/consecutive (figure 4); each as .png, .svg and .pdf. Units:
    lengths and principal components sqrt(bits/byte). InputError when no map can be filled.
    """
    out = Path(out)
    atlas = make_atlas(store, warmup=warmup, parents=parents, ask=ask)
    if not atlas.maps:
        reasons = "; ".join(f"{FIGURES[name]}: {why}" for name, why in atlas.absent.items())
        raise InputError(f"{store.path}: no map can be drawn: {reasons}")
    files: list[Path] = []
    notes = list(atlas.notes)
    rows: list[tuple[object, ...]] = []
    with progress(len(atlas.maps), "map", "map") as bar:
        for one in atlas.maps:
            for embedding in one.embeddings:
                rows += _rows(one, embedding)
                if embedding.note:
                    notes.append(f"{one.name}: {embedding.note}")
                base = out / f"map_{one.name}_{embedding.method}"
                files += style.save(draw(atlas, one, embedding), base)
            if not any(embedding.method == "tsne" for embedding in one.embeddings):
                notes.append(f"{one.name}: {len(one.entries)} models are too few for t-SNE")
            bar.update()
    files.insert(0, write_csv(out / "coordinates.csv", COLUMNS, rows))
    if atlas.pretraining is not None:
        paths = paths_of(atlas.pretraining)
        table = (
            (one.run, one.from_step, one.checkpoints, *map(_number, one.numbers)) for one in paths
        )
        files.insert(1, write_csv(out / "path_statistics.csv", PATH_COLUMNS, table))
        figure = consecutive.draw(consecutive_of(atlas.pretraining), warmup_until=warmup)
        files += style.save(figure, out / "consecutive")
    return Drawn(tuple(files), atlas.absent, tuple(notes))


def draw(atlas: Atlas, one: Map, embedding: Embedding) -> Figure:
    """The figure of one map."""
    if one.name == "trajectories":
        assert atlas.pretraining is not None
        return map_trajectories.draw(lines_of(atlas.pretraining, embedding), embedding)
    colors = kind_colors(atlas.kinds)
    if one.name in ("8-bit", "4-bit"):
        return map_pairs.draw_quantised(embedding, one.pairs_P2, one.kinds, one.name, colors=colors)
    if one.name == "families":
        return map_pairs.draw_families(embedding, one.pairs_P2, one.kinds, colors=colors)
    if one.name == "layers":
        models = [entry.label.rpartition("#layer")[0] for entry in one.entries]
        layer_K = np.array([entry.identity.variant.layer for entry in one.entries])
        return map_layers.draw(embedding, models, layer_K, one.kinds, colors=colors)
    return map_pairs.draw_models(embedding, one.kinds, colors=colors)


def lines_of(pre: Pretraining, embedding: Embedding) -> list[map_trajectories.Line]:
    """Runs on a map, with the KL of each step; checkpoints left out are gaps."""
    found = []
    for run, rows in zip(pre.runs, pre.rows, strict=True):
        if not (rows >= 0).any():
            continue
        there = (rows[:-1] >= 0) & (rows[1:] >= 0)
        kl_I = np.full(len(rows), np.nan)
        pairs_P2 = np.stack([rows[:-1][there], rows[1:][there]], axis=1)
        kl_I[1:][there] = kl_pairs(pre.ll_KN, pairs_P2, pre.mean_bytes).kl
        xy_I2 = np.where((rows >= 0)[:, None], embedding.xy_K2[rows], np.nan)
        found.append(map_trajectories.Line(run.name, xy_I2, kl_I))
    return found


def paths_of(pre: Pretraining, draws: int = DRAWS) -> list[PathRow]:
    """Length, straightness and winding of each run: whole, and from the end of warmup on.

    The first steps of training are so long that they alone shape the whole path. A checkpoint left
    out is passed over: the path goes straight from the one before to the next.
    """
    x_KN = coordinates(pre.ll_KN, pre.mean_bytes)
    found = []
    with progress(len(pre.runs), "paths", "run", leave=False) as bar:
        for run, rows in zip(pre.runs, pre.rows, strict=True):
            kept = np.flatnonzero(rows >= 0)
            for part in (kept, kept[run.steps[kept] >= pre.warmup]):
                if len(part) < 2 or (part is not kept and len(part) == len(kept)):
                    continue
                x_IN = x_KN[rows[part]]
                wound = winding(x_IN, draws)
                turning = wound[:4] if wound else (None,) * 4
                numbers = (*path_statistics(x_IN), *turning)
                found.append(PathRow(run.name, int(run.steps[part[0]]), len(part), numbers))
            bar.update()
    return found


def _rows(one: Map, embedding: Embedding) -> Iterable[tuple[object, ...]]:
    facts = (embedding.perplexity, *embedding.explained)
    perplexity, *explained = (_number(value) for value in facts)
    for entry, (x, y) in zip(one.entries, embedding.xy_K2.tolist(), strict=True):
        yield one.name, entry.label, embedding.method, perplexity, repr(x), repr(y), *explained


def _number(value: float | None) -> str:
    return "" if value is None or np.isnan(value) else repr(float(value))

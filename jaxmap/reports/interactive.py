"""The interactive part of the page: maps and a KL heat map, drawn by plotly.js inside the page."""

from __future__ import annotations

import json
import math
from importlib import resources
from typing import Any

import numpy as np

from jaxmap.analysis.context import Context
from jaxmap.analysis.maps import Atlas, Map
from jaxmap.analysis.nearest_models import NearestModels
from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.runs import size_of
from jaxmap.figures.captions import scores_are
from jaxmap.figures.legend import axis_names, kind_colors
from jaxmap.figures.style import FAINT, PALETTE
from jaxmap.reports.model_names import base_name, shown_names
from jaxmap.stats.divergence import kl_KK, nearest_others
from jaxmap.stats.embed import Embedding

SCRIPTS = ("page.js", "labels.js", "gestures.js", "map.js", "heat.js")
DIGITS = 5  # significant ones of numbers on the page
# Colours of runs after those of the palette, on white and on dark paper: violet, brown, olive,
# crimson, magenta, grey.
FURTHER = ("#8A63D2", "#8C6239", "#8A8F00", "#C9364F", "#D81BB0", "#7D858E")

TITLES = {
    "trajectories": "training runs",
    "models": "models",
    "8-bit": "models and their 8-bit versions",
    "4-bit": "models and their 4-bit versions",
    "families": "parents and children",
    "layers": "layers",
}
SAID = {
    "trajectories": "A dot is a checkpoint, a line joins those that follow one another, the large "
    "dot is the last one shown.",
    "models": "A dot is a model.",
    "8-bit": "A line joins a model and its copy in 8 bits.",
    "4-bit": "A line joins a model and its copy in 4 bits.",
    "families": "A line joins a parent and its child.",
    "layers": "A dot is what one layer predicts (logit lens); a line joins layers in order.",
}


def payload(
    context: Context, atlas: Atlas, models: NearestModels, heat: dict[str, Any] | None
) -> dict[str, Any]:
    """What the script draws: maps with the texts that appear on hovering, and the heat map."""
    return {
        "palette": list(PALETTE),
        "further": list(FURTHER),
        "types": [kind for kind, color in kind_colors(atlas.kinds).items() if color != FAINT],
        "maps": [_map(context, one, atlas.pretraining, models) for one in atlas.maps],
        "heat": heat,
    }


def script(drawn: dict[str, Any]) -> str:
    """plotly.js, the data and our own script; nothing in the data can end the element.

    "" where there is nothing to draw.
    """
    if not drawn["maps"] and not drawn["heat"]:
        return ""
    from plotly.offline import get_plotlyjs

    data = json.dumps(drawn, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    folder = resources.files("jaxmap.reports")
    own = "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in SCRIPTS)
    return (
        f'<script type="application/json" id="map-data">{data}</script>\n'
        f"<script>{get_plotlyjs()}</script>\n<script>{own}page.start();</script>\n"
    )


def _map(
    context: Context, one: Map, runs: Pretraining | None, models: NearestModels
) -> dict[str, Any]:
    entries = one.entries
    nearest_K, kl_K = _nearest(context, one, models)
    is_runs = one.name == "trajectories" and runs is not None
    times: list[int | None] = [entry.name.step for entry in entries]
    paths, unit = [], "step"
    if is_runs and runs is not None:
        times, paths, unit = [None] * len(entries), _paths(runs), runs.runs[0].unit
        for run, rows in zip(runs.runs, runs.rows, strict=True):
            for row, time in zip(rows.tolist(), run.times.tolist(), strict=True):
                if row >= 0:
                    times[row] = time
    return {
        "title": f"{TITLES[one.name]} ({len(entries):,})",
        "said": f"{SAID[one.name]} {scores_are(one.recipe, one.group, one.cleaned)}",
        "labels": shown_names([entry.label for entry in entries]),
        "model": [base_name(entry) for entry in entries] if is_runs else None,
        "run": _runs(runs, len(entries)) if is_runs and runs is not None else None,
        "type": list(one.kinds),
        "step": times,
        "unit": unit,
        "size": [size_of(entry) for entry in entries],
        "layer": [entry.identity.variant.layer for entry in entries],
        "loss": _numbers(context.bits_per_byte(entries)),
        "nearest": [row if row >= 0 else None for row in nearest_K],
        "nearest_kl": _numbers(kl_K),
        "pairs": one.pairs_P2.tolist(),
        "paths": paths,
        "embeddings": [_embedding(found) for found in one.clearest_first],
    }


def _runs(runs: Pretraining, count: int) -> list[str | None]:
    """The run of each row."""
    names: list[str | None] = [None] * count
    for run, rows in zip(runs.runs, runs.rows, strict=True):
        for row in rows[rows >= 0].tolist():
            names[row] = run.name
    return names


def _embedding(found: Embedding) -> dict[str, Any]:
    name_x, name_y = (name.replace("\n", ", ") for name in axis_names(found))
    title = f"t-SNE, perplexity {found.perplexity:.3g}"
    return {
        "title": title if found.method == "tsne" else "principal components",
        "x": _numbers(found.xy_K2[:, 0]),
        "y": _numbers(found.xy_K2[:, 1]),
        "axis_x": name_x,
        "axis_y": name_y,
    }


def _nearest(context: Context, one: Map, models: NearestModels) -> tuple[list[int], np.ndarray]:
    """The nearest other row of each and the KL to it, from raw scores, so that the KL of a pair is
    the same on the whole page; -1 and NaN where no other row has other scores."""
    rows = {known.entry.path: k for k, known in enumerate(models.models)}
    if all(entry.path in rows for entry in one.entries):
        places = [rows[entry.path] for entry in one.entries]
        kl = models.kl_KK[np.ix_(places, places)]
    else:
        kl = kl_KK(context.vectors(one.entries), context.mean_bytes, errors=False).kl
    nearest_K = nearest_others(kl)
    kl_K = np.where(nearest_K >= 0, kl[np.arange(len(kl)), nearest_K], np.nan)
    return nearest_K.tolist(), kl_K


def _paths(runs: Pretraining) -> list[list[int]]:
    """The rows of each run, in time."""
    return [rows[rows >= 0].tolist() for rows in runs.rows if (rows >= 0).any()]


def _numbers(values: np.ndarray) -> list[float | None]:
    return [
        float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in values.tolist()
    ]

"""The interactive part of the page: maps and a KL heat map, drawn by plotly.js inside the page."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

import numpy as np

from jaxmap.analysis.atlas import Atlas, Map
from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.runs import single_models
from jaxmap.figures.kinds import axis_names
from jaxmap.figures.style import PALETTE, SEED
from jaxmap.map.clean import clean_map
from jaxmap.map.divergence import kl_KK
from jaxmap.map.embed import Embedding
from jaxmap.store import Store
from jaxmap.store.labels import step_of, trajectory_of
from jaxmap.store.record import Entry

MOST_HEAT = 300  # models of the heat map
DIGITS = 5  # significant ones of numbers on the page

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
    "8-bit": "A line joins a model and its quantised version.",
    "4-bit": "A line joins a model and its quantised version.",
    "families": "A line joins a parent and its child.",
    "layers": "A dot is what one layer predicts (logit lens); a line joins layers in order.",
}


def payload(store: Store, atlas: Atlas) -> dict[str, Any]:
    """What the script draws: maps with everything that hovering tells, and the heat map."""
    return {
        "palette": list(PALETTE),
        "maps": [_map(store, one) for one in atlas.maps],
        "heat": _heat(store, atlas),
    }


def section(drawn: dict[str, Any]) -> str:
    """The elements that the script fills; the data are in the page once, in `script`."""
    parts = []
    if drawn["maps"]:
        parts.append(
            "<h2>The map</h2>"
            "<p>Models that predict the texts alike lie together. Drag to move, scroll or pinch to "
            "zoom, hover or tap for names and the KL to the nearest model.</p>"
            '<div class="controls">'
            '<label>map <select id="map-which"></select></label>'
            '<label>by <select id="map-method"></select></label>'
            '<label>colour <select id="map-color"></select></label>'
            '<label>find <input id="map-search" type="search" list="map-names" '
            'placeholder="a model" autocomplete="off"></label>'
            '<datalist id="map-names"></datalist></div>'
            '<div class="controls" id="map-time"><label class="grow">training '
            '<input id="map-step" type="range" min="0" step="1"></label>'
            '<output id="map-now"></output></div>'
            '<div id="map-plot" class="plot"></div><div id="map-keys" class="keys"></div>'
            '<p class="note" id="map-found" aria-live="polite"></p>'
            '<p class="note"><span id="map-said"></span> t-SNE keeps neighbours together, and '
            "distances across it say little; in principal components squared distances are KL, "
            "as far as two dimensions hold them.</p>"
        )
    if drawn["heat"]:
        parts.append(
            "<h2>KL between all models</h2>"
            '<div id="heat-plot" class="plot square"></div>'
            f'<p class="note">{_heat_words(drawn)}</p>'
        )
    return "".join(parts)


def script(drawn: dict[str, Any]) -> str:
    """plotly.js, the data and our own script; nothing in the data can end the element."""
    from plotly.offline import get_plotlyjs

    data = json.dumps(drawn, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    own = resources.files("jaxmap.report").joinpath("map.js").read_text(encoding="utf-8")
    return (
        f'<script type="application/json" id="map-data">{data}</script>\n'
        f"<script>{get_plotlyjs()}</script>\n<script>{own}</script>\n"
    )


def _map(store: Store, one: Map) -> dict[str, Any]:
    nearest_K, kl_K = _nearest(one)
    entries = one.entries
    return {
        "title": f"{TITLES[one.name]} ({len(entries):,})",
        "said": SAID[one.name],
        "labels": shown_names(entries),
        "model": [_base(entry) for entry in entries] if one.name == "trajectories" else None,
        "type": list(one.kinds),
        "step": [step_of(e.identity.ref, e.identity.revision) for e in entries],
        "size": [e.provenance.model.get("num_parameters") for e in entries],
        "layer": [entry.identity.layer for entry in entries],
        "loss": _numbers(loss(store, entries)),
        "nearest": nearest_K,
        "nearest_kl": _numbers(kl_K),
        "pairs": one.pairs_P2.tolist(),
        "paths": _paths(one) if one.name == "trajectories" else [],
        "embeddings": [_embedding(found) for found in one.embeddings],
    }


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


def loss(store: Store, entries: Sequence[Entry]) -> np.ndarray:
    """Bits per byte of all texts, uncleaned, float64 [K]."""
    total = math.log(2.0) * float(store.texts.text_bytes.sum())
    return np.array([-store.load(entry).log_likelihood.sum() / total for entry in entries])


def _nearest(one: Map) -> tuple[list[int], np.ndarray]:
    kl = kl_KK(one.ll_KN, one.mean_bytes, errors=False).kl
    np.fill_diagonal(kl, np.inf)
    nearest_K = kl.argmin(axis=1)
    return nearest_K.tolist(), kl[np.arange(len(kl)), nearest_K]


def _paths(one: Map) -> list[list[int]]:
    runs: dict[object, list[int]] = {}
    for row, entry in enumerate(one.entries):
        runs.setdefault(trajectory_of(entry), []).append(row)
    return list(runs.values())


def _heat(store: Store, atlas: Atlas) -> dict[str, Any] | None:
    """Last checkpoints of runs and models that are no checkpoints, in the order of a tree."""
    from scipy.cluster.hierarchy import dendrogram, linkage
    from scipy.spatial.distance import squareform

    last = {} if atlas.pretraining is None else _last(atlas.pretraining)
    singles = single_models(store.records())
    chosen = [*last.values(), *singles]
    names = [*last, *shown_names(singles)]
    if len(chosen) < 3:
        return None
    shown = chosen[:MOST_HEAT]
    cleaned = clean_map(store.log_likelihoods(shown), [entry.label for entry in shown])
    kl = kl_KK(cleaned.ll_KN, store.texts.mean_bytes, errors=False).kl
    tree = linkage(squareform(np.sqrt(kl), checks=False), "average", optimal_ordering=True)
    drawn = dendrogram(tree, no_plot=True)
    order = drawn["leaves"]
    line_x: list[float | None] = []
    line_y: list[float | None] = []
    for corner_x, corner_y in zip(drawn["icoord"], drawn["dcoord"], strict=True):
        line_x += [*((float(x) - 5) / 10 for x in corner_x), None]
        line_y += [*(float(f"{y:.{DIGITS}g}") for y in corner_y), None]
    return {
        "labels": [names[cleaned.rows[k]] for k in order],
        "kl": _numbers(kl[np.ix_(order, order)].ravel()),
        "tree": {"x": line_x, "y": line_y, "top": float(tree[:, 2].max()) or 1.0},
        "left_out": len(chosen) - len(shown),
    }


def _last(pre: Pretraining) -> dict[str, Entry]:
    """The last checkpoint of each run that was kept, by the run's name."""
    found = {}
    for run, rows in zip(pre.runs, pre.rows, strict=True):
        kept = [e for e, row in zip(run.entries, rows, strict=True) if row >= 0 and e is not None]
        if kept:
            found[run.name] = kept[-1]
    return found


def _heat_words(drawn: dict[str, Any]) -> str:
    left_out = drawn["heat"]["left_out"]
    words = (
        "The last checkpoint of each run, and each model that is no checkpoint, ordered by "
        "hierarchical clustering (average linkage of √KL). Scores are clipped from below at "
        "their 2 % quantile."
    )
    if left_out:
        words += f" {left_out:,} of them are not shown: at most {MOST_HEAT} are."
    return escape(words)


def shown_names(entries: Sequence[Entry]) -> list[str]:
    """Labels without folders or organisations where that is no other's name, else in full."""
    full = [entry.label for entry in entries]
    last = [label.rpartition("/")[2] for label in full]
    count = Counter(last)
    return [
        short if count[short] == 1 and label.count("/") > 1 else label
        for label, short in zip(full, last, strict=True)
    ]


def _base(entry: Entry) -> str:
    """The model that an entry is a checkpoint of, without its seed."""
    one = entry.identity
    run = one.ref if one.revision is not None else one.ref.rpartition("/")[0]
    name = run.rpartition("/")[2]
    match = SEED.match(name)
    return match["base"] if match else name


def _numbers(values: np.ndarray) -> list[float | None]:
    return [
        float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in values.tolist()
    ]

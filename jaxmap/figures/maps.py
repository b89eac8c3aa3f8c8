"""Chooses the figure for a map of an atlas: Kishino et al. 2026, fig. 1 and 2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from jaxmap.figures import captions, map_layers, map_pairs, map_trajectories, style
from jaxmap.figures.legend import kind_colors

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxmap.analysis.maps import Atlas, Map
    from jaxmap.stats.embed import Embedding


def draw(atlas: Atlas, one: Map, embedding: Embedding) -> Figure:
    """The figure of one map; a type of models has one colour on all maps of the atlas."""
    figure = _draw(atlas, one, embedding)
    with style.look():
        captions.write_above(figure, captions.scores_are(one.recipe, one.group, one.cleaned))
    return figure


def _draw(atlas: Atlas, one: Map, embedding: Embedding) -> Figure:
    if one.name == "trajectories":
        return map_trajectories.draw(atlas.run_lines(embedding), embedding)
    colors = kind_colors(atlas.kinds)
    if one.name in ("8-bit", "4-bit"):
        return map_pairs.draw_quantised(embedding, one.pairs_P2, one.kinds, one.name, colors=colors)
    if one.name == "families":
        return map_pairs.draw_families(
            embedding, one.pairs_P2, one.generations, one.kinds, colors=colors
        )
    if one.name == "layers":
        models = [entry.label.rpartition("#layer")[0] for entry in one.entries]
        layer_K = np.array([entry.variant.layer for entry in one.entries])
        return map_layers.draw(embedding, models, layer_K, one.kinds, colors=colors)
    return map_pairs.draw_models(embedding, one.kinds, colors=colors)

"""Selects the models on each map of a store, and the pairs that lines join."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from jaxmap.analysis import published_maps
from jaxmap.analysis.consecutive import measure_consecutive
from jaxmap.analysis.context import Context
from jaxmap.analysis.maps import TITLES, Atlas, Map
from jaxmap.analysis.model_pairs import settings_of_models
from jaxmap.analysis.notes import Note
from jaxmap.analysis.pair_settings import Setting
from jaxmap.analysis.pretraining import Pretraining
from jaxmap.analysis.published_models import COPIES, ReleasedModels
from jaxmap.analysis.run_pairs import GROUP
from jaxmap.errors import InputError
from jaxmap.stats.embed import PERPLEXITY, PERPLEXITY_FAMILIES
from jaxmap.store.record import Entry

FEWEST = 3  # the smallest number of models of a map; two have only a distance

# The settings of the scale whose pairs are shown on maps, and the names of these maps.
OF_SETTING = {"8-bit": "8-bit", "4-bit": "4-bit", "ft": "families", "layer": "layers"}


def make_atlas(context: Context) -> Atlas:
    """Reads and cleans the models of each map; embeddings are computed when they are needed.

    Trajectories are cleaned by the recipe for pretraining; the scores of other maps are raised to
    the lower limit from cleaning the models. Maps for which the store has too few models are
    absent, with the reason. The published recipe is different: see `published_maps`.
    """
    if context.recipe == "published":
        return _published_atlas(context)
    pre, timed = context.pretraining, context.timeline
    settings = settings_of_models(context)
    candidates: dict[str, Map | str] = {
        "trajectories": _of_runs(context, pre, timed),
        "models": _of_singles(context),
        **{
            name: _of_setting(context, name, settings.settings[setting])
            for setting, name in OF_SETTING.items()
        },
    }
    maps, absent = _sorted_out(candidates)
    notes: list[Note] = [*(pre.notes if pre else ()), *context.timeline_notes, *settings.cleaning]
    notes += [note for setting in OF_SETTING for note in settings.settings[setting].notes]
    return Atlas(maps, absent, timed, tuple(notes))


def _sorted_out(candidates: Mapping[str, Map | str]) -> tuple[tuple[Map, ...], dict[str, str]]:
    """The maps with enough models, and for the others the reason why not."""
    maps, absent = [], {}
    for name, found in candidates.items():
        if isinstance(found, str):
            absent[name] = found
        elif len(found.entries) < FEWEST:
            absent[name] = f"{len(found.entries)} models have no map, it takes {FEWEST}"
        else:
            maps.append(found)
    return tuple(maps), absent


def _published_atlas(context: Context) -> Atlas:
    groups, models = context.published_groups, ReleasedModels(context)
    maps, absent = _sorted_out(
        {
            "trajectories": published_maps.map_of_runs(models, groups.together),
            "models": published_maps.map_of_models(models),
            **{name: published_maps.map_of_copies(models, name) for name in COPIES},
            "families": published_maps.map_of_families(models),
            "layers": published_maps.map_of_layers(models),
        }
    )
    sizes, together = groups.sizes, groups.together
    return Atlas(
        maps,
        absent,
        None if together is None else together.cleaned,
        () if together is None else together.notes,
        None if sizes is None else measure_consecutive(sizes.cleaned, "published", sizes.name),
        "published",
    )


def require_maps(context: Context, atlas: Atlas) -> Atlas:
    """Returns the atlas; raises InputError with all reasons if it has no map."""
    if not atlas.maps:
        reasons = "; ".join(f"{TITLES[name]}: {why}" for name, why in atlas.absent.items())
        raise InputError(f"{context.store.path}: no map can be drawn: {reasons}")
    return atlas


def _of_runs(context: Context, pre: Pretraining | None, timed: Pretraining | None) -> Map | str:
    if pre is None or timed is None:
        return "the store holds no two checkpoints of one training run"
    return _map(context, "trajectories", pre.entries, pre.ll_KN, pre.mean_bytes, timed.row_pairs())


def _of_singles(context: Context) -> Map | str:
    singles = context.singles
    if len(singles) < FEWEST:
        return f"{len(singles)} models that are no checkpoints have no map"
    cleaned = context.cleaned(singles)
    kept = [singles[row] for row in cleaned.rows]
    alone = np.empty((0, 2), np.int64)
    return _map(context, "models", kept, cleaned.ll_KN, context.mean_bytes, alone)


def _of_setting(context: Context, name: str, one: Setting) -> Map | str:
    if not len(one.pairs_P2):
        return one.reason
    if name == "families":
        perplexity, pairs_P2 = PERPLEXITY_FAMILIES, one.pairs_P2[:, ::-1]  # parent first
    else:
        perplexity, pairs_P2 = PERPLEXITY, one.pairs_P2
    return _map(context, name, one.entries, one.ll_KN, one.mean_bytes, pairs_P2, perplexity)


def _map(
    context: Context,
    name: str,
    entries: Sequence[Entry],
    ll_KN: np.ndarray,
    mean_bytes: float,
    pairs_P2: np.ndarray,
    perplexity: float = PERPLEXITY,
) -> Map:
    types = context.types_of(entries)
    kinds = tuple(types.get(entry.identity.ref, "") for entry in entries)
    group = GROUP if name == "trajectories" else "models"
    return Map(name, tuple(entries), kinds, ll_KN, mean_bytes, pairs_P2, perplexity, group=group)

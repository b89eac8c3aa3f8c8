"""What the configs of released training suites share: parts of a suite, and which are chosen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jaxmap.errors import InputError
from jaxmap.sweeps.config_schema import config_dict

if TYPE_CHECKING:
    from ml_collections import ConfigDict


@dataclasses.dataclass(frozen=True)
class Part:
    """Runs of one suite and size.

    Fields:
      models: references and patterns.
      parameters: of each model.
      checkpoints: about how many there are, by the interval at which they were released; what a
        sweep scores is what the Hub lists. 0: not known.
      runs: what names do not say of them, as of `jaxmap.naming.RunFacts`.
      bits: of a released weight.
      active: parameters that a token meets; 0: all.
    """

    models: tuple[str, ...]
    parameters: float
    checkpoints: int
    runs: tuple[Mapping[str, Any], ...] = ()
    bits: int = 16
    active: float = 0


def suite_config(parts: Mapping[str, Part], variant: str, **fields: Any) -> ConfigDict:
    """The config of some parts of a suite: their names with commas between, or `all`.

    Weight distances to ten checkpoints before each are measured, unless `fields` say otherwise.
    InputError for a part that is unknown.
    """
    names = [*parts] if variant == "all" else variant.split(",")
    for name in names:
        if name not in parts:
            raise InputError(f"{name!r} is unknown; known: {', '.join(parts)}, all", field="config")
    chosen = [parts[name] for name in names]
    runs = {str(sorted(run.items(), key=str)): dict(run) for part in chosen for run in part.runs}
    defaults = {"texts": "texts.jsonl", "weight_distance": 10}
    return config_dict(
        models=tuple(model for part in chosen for model in part.models),
        runs=tuple(runs.values()),
        **{**defaults, **fields},
    )

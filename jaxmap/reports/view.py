"""The results of all analyses of a store, each computed when a section needs it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from jaxmap.analysis.context import Context
from jaxmap.analysis.diffusion import Diffusion, measure_diffusion
from jaxmap.analysis.dynamics import Dynamics, measure_dynamics
from jaxmap.analysis.floor import Floors, measure_floors
from jaxmap.analysis.learning import Learning, measure_learning
from jaxmap.analysis.map_selection import make_atlas
from jaxmap.analysis.maps import Atlas
from jaxmap.analysis.nearest_models import NearestModels, measure_nearest
from jaxmap.analysis.scale import Scale, find_settings, measure_scale
from jaxmap.errors import InputError
from jaxmap.reports.heat_map import heat
from jaxmap.reports.interactive import payload
from jaxmap.reports.model_names import shown_names


class View:
    """The results that sections arrange.

    Args:
      context: the store, and how it is read.
      notes: paragraphs under the methods, plain text.
    """

    def __init__(self, context: Context, notes: Sequence[str] = ()):
        self.context = context
        self.store = context.store
        self.notes = tuple(notes)

    @cached_property
    def atlas(self) -> Atlas:
        """The maps; it may hold none."""
        return make_atlas(self.context)

    @cached_property
    def interactive(self) -> dict[str, Any]:
        """What the script of the page draws."""
        return payload(self.context, self.atlas, self.nearest, heat(self.nearest, self.names))

    @cached_property
    def nearest(self) -> NearestModels:
        """The models of the store, each with its nearest neighbour; it may hold none."""
        return measure_nearest(self.context)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of `nearest.models` on the page, each once."""
        return tuple(shown_names([one.name for one in self.nearest.models]))

    @cached_property
    def learning(self) -> Learning:
        """Bits per byte of the training runs; it may hold none."""
        return measure_learning(self.context)

    @cached_property
    def scale(self) -> Scale | str:
        """The ten settings, or why the store fills none."""
        try:
            return measure_scale(self.context)
        except InputError as error:
            return self._reason(error)

    @cached_property
    def absent_settings(self) -> dict[str, str]:
        """Of the ten settings those that the store cannot fill, with the reasons."""
        if isinstance(self.scale, Scale):
            return {
                row.setting.name: row.setting.reason for row in self.scale.rows if not row.summary.n
            }
        settings, _ = find_settings(self.context)
        return {one.name: one.reason for one in settings if not len(one.pairs_P2)}

    @cached_property
    def diffusion(self) -> Diffusion | str:
        """How the training runs move, or why nothing can be measured."""
        try:
            return measure_diffusion(self.context)
        except InputError as error:
            return self._reason(error)

    @cached_property
    def dynamics(self) -> Dynamics | None:
        """Speed, turns and the like of the training runs; None without runs."""
        if self.context.timeline is None:
            return None
        return measure_dynamics(self.context)

    @cached_property
    def floors(self) -> Floors:
        """What arithmetic alone does; it may hold none."""
        return measure_floors(self.context)

    def _reason(self, error: InputError) -> str:
        return str(error).removeprefix(f"{self.store.path}: ")

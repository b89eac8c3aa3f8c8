"""What the page shows: the results of all analyses of a store, each computed when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

from jaxmap.analysis.context import Context
from jaxmap.analysis.diffusion import Diffusion, measure_diffusion
from jaxmap.analysis.floor import Floors, measure_floors
from jaxmap.analysis.kl import KlTable, kl_between
from jaxmap.analysis.last_checkpoints import Finals, measure_finals
from jaxmap.analysis.learning import Learning, measure_learning
from jaxmap.analysis.map_selection import make_atlas
from jaxmap.analysis.maps import Atlas
from jaxmap.analysis.scale import Scale, measure_scale
from jaxmap.errors import InputError
from jaxmap.reports.interactive import payload

MOST_MODELS = 12  # whose KLs are listed on the page
MOST_FINALS = 12  # runs whose final models are compared on the page


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
        return payload(self.context, self.atlas)

    @cached_property
    def models(self) -> KlTable | None:
        """KL between the models that are no checkpoints; None for fewer than two or for many."""
        singles = self.context.singles
        return kl_between(self.context, singles) if 2 <= len(singles) <= MOST_MODELS else None

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
    def diffusion(self) -> Diffusion | str:
        """How the training runs move, or why there is nothing to tell."""
        try:
            return measure_diffusion(self.context)
        except InputError as error:
            return self._reason(error)

    @cached_property
    def finals(self) -> Finals | None:
        """KL between the last checkpoints of runs; None for fewer than two."""
        return measure_finals(self.context, MOST_FINALS) if len(self.learning.curves) > 1 else None

    @cached_property
    def floors(self) -> Floors:
        """What arithmetic alone does; it may hold none."""
        return measure_floors(self.context)

    def _reason(self, error: InputError) -> str:
        return str(error).removeprefix(f"{self.store.path}: ")

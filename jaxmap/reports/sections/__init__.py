"""The sections of the page, in their order; docs/extend/figure.md says how to add one."""

from __future__ import annotations

from collections.abc import Callable

from jaxmap.reports.section import Section
from jaxmap.reports.sections import (
    consecutive,
    diffusion,
    dynamics,
    failures,
    heat_map,
    interactive_map,
    learning,
    left_out,
    methods,
    models,
    pairs,
    precision,
    scale,
    summary,
    trajectory_shapes,
)
from jaxmap.reports.view import View

SECTIONS: tuple[Callable[[View], Section | None], ...] = (
    summary.section,
    models.section,
    interactive_map.section,
    heat_map.section,
    pairs.section,
    scale.section,
    learning.section,
    consecutive.section,
    dynamics.section,
    diffusion.section,
    trajectory_shapes.section,
    precision.section,
    failures.section,
    left_out.section,
    methods.section,
)

"""The sections of the page, in their order; docs/extend/figure.md says how to add one."""

from __future__ import annotations

from collections.abc import Callable

from jaxmap.reports.section import Section
from jaxmap.reports.sections import (
    consecutive,
    diffusion,
    failures,
    finals,
    interactive_map,
    learning,
    left_out,
    methods,
    models,
    paths,
    precision,
    scale,
    summary,
)
from jaxmap.reports.view import View

SECTIONS: tuple[Callable[[View], Section | None], ...] = (
    summary.section,
    interactive_map.section,
    models.section,
    learning.section,
    consecutive.section,
    scale.section,
    diffusion.section,
    paths.section,
    finals.section,
    precision.section,
    failures.section,
    left_out.section,
    methods.section,
)

"""Texts and models that cleaning left out or changed, and settings that the store lacks."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from html import escape

from jaxmap.reports.interactive import TITLES
from jaxmap.reports.section import Section
from jaxmap.reports.view import View

MOST = 200


def section(view: View) -> Section | None:
    """The notes of all results, and reasons for what is absent; None where there are none."""
    lines = [str(note) for note in view.atlas.cleaning]
    lines += [f"map, {note}" for one in view.atlas.maps for note in one.notes]
    if not isinstance(view.diffusion, str):
        lines += [str(note) for note in view.diffusion.notes]
    lines = list(dict.fromkeys(_with_short_names(view, line) for line in lines))
    absent = [f"{'; '.join(what)}: {why}" for why, what in _absent(view).items()]
    if not lines and not absent:
        return None
    html = _list(lines) if lines else ""
    if absent:
        summary = "What the page has no data for, and what it would take"
        html += f"<details><summary>{summary}</summary>{_list(absent)}</details>"
    return Section("What was left out, and why", html)


def _list(lines: Sequence[str]) -> str:
    items = "".join(f"<li>{_marked(line)}</li>" for line in lines[:MOST])
    if len(lines) > MOST:
        items += f"<li>and {len(lines) - MOST:,} more</li>"
    return f'<ul class="plain">{items}</ul>'


def _with_short_names(view: View, line: str) -> str:
    """A line in which runs of local folders have the names that they have in the tables."""
    timeline = view.context.timeline
    for run in () if timeline is None else timeline.runs:
        if run.full_name.startswith("/"):
            line = run.name.join(re.split(rf"{re.escape(run.full_name)}(?![\w./-])", line))
    return line


def _absent(view: View) -> dict[str, list[str]]:
    """What the store cannot fill, by the reason."""
    found: dict[str, list[str]] = defaultdict(list)
    settings: dict[str, list[str]] = defaultdict(list)
    for name, why in view.atlas.absent.items():
        found[why].append(f"map of {TITLES[name]}")
    for name, why in view.absent_settings.items():
        settings[why].append(name)
    for why, names in settings.items():
        found[why].append(f"scale of {', '.join(names)}")
    if isinstance(view.diffusion, str):
        found[view.diffusion].append("diffusion")
    return found


def _marked(line: str) -> str:
    """Plain text as HTML; what stands in backquotes as code."""
    return re.sub(r"`([^`<>]+)`", r"<code>\1</code>", escape(line))

"""What cleaning left out and changed, and what the store cannot fill."""

from __future__ import annotations

from html import escape

from jaxmap.analysis.maps import TITLES
from jaxmap.reports.section import Section
from jaxmap.reports.view import View

MOST = 200


def section(view: View) -> Section | None:
    """The notes of all results, and reasons for what is absent; None where there are none."""
    lines = [str(note) for note in view.atlas.cleaning]
    lines += [f"map, {TITLES[name]}: absent: {why}" for name, why in view.atlas.absent.items()]
    lines += [f"map, {note}" for one in view.atlas.maps for note in one.notes]
    if isinstance(view.scale, str):
        lines.append(f"scale: absent: {view.scale}")
    else:
        lines += [
            f"scale, {row.setting.name}: absent: {row.setting.reason}"
            for row in view.scale.rows
            if not row.summary.n
        ]
    if isinstance(view.diffusion, str):
        lines.append(f"diffusion: absent: {view.diffusion}")
    else:
        lines += [str(note) for note in view.diffusion.notes]
    lines = list(dict.fromkeys(lines))
    if not lines:
        return None
    items = "".join(f"<li>{escape(line)}</li>" for line in lines[:MOST])
    if len(lines) > MOST:
        items += f"<li>and {len(lines) - MOST} more</li>"
    return Section(f'<h2>What was left out, and why</h2><ul class="plain">{items}</ul>')

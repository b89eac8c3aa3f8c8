"""What could not be scored, and why."""

from __future__ import annotations

from html import escape

from jaxmap.reports.section import Section
from jaxmap.reports.view import View

MOST = 50


def section(view: View) -> Section | None:
    """Failures and what is missing; None where all that was asked for is done."""
    failed, missing = view.store.failures(), view.store.missing()
    if not failed and not missing:
        return None
    lines = [
        f"<li><code>{escape(one.item.label)}</code>: {escape(one.reason)}</li>"
        for one in failed[:MOST]
    ]
    if len(failed) > MOST:
        lines.append(f"<li>and {len(failed) - MOST} more</li>")
    unscored = f"<p>Asked for and not scored yet: {len(missing)}.</p>"
    return Section(
        "What failed",
        f"<ul>{''.join(lines)}</ul>{unscored if missing else ''}",
        kind="failed",
    )

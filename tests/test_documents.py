"""Pages: what they link to is there."""

from __future__ import annotations

import re

import pytest
from support import REPOSITORY

PAGES = sorted(
    path
    for folder in (".", "docs", "docs/extend", "launch")
    for path in (REPOSITORY / folder).glob("*.md")
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    text = page.read_text("utf-8")
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    inside = [link for link in links if not re.match(r"\w+:", link)]
    missing = [link for link in inside if not (page.parent / link.partition("#")[0]).exists()]
    assert missing == []

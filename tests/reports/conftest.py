"""What the tests of the page share."""

from __future__ import annotations

import pytest
from support.maps import map_store

from jaxmap.analysis.context import Context
from jaxmap.analysis.genealogy import ask_nobody
from jaxmap.reports.page import make_report


@pytest.fixture(scope="package")
def mapped(tmp_path_factory):
    """A store that fills every map, and its page."""
    folder = tmp_path_factory.mktemp("mapped")
    store = map_store(folder / "store")
    make_report(Context(store, ask=ask_nobody)).write(folder / "report.html")
    return store, folder / "report.html"

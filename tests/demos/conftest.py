"""The folder of a demo that has ended."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.demos import documents, endings, tiny

from jaxmap.demos.run import run_demo


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "out"
    assert endings(run_demo(out, tiny(), documents())) == {"done"}
    return out

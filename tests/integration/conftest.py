"""What several tests of whole runs share."""

from __future__ import annotations

import pytest
from support.slurm import Cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    one = Cluster(tmp_path_factory.mktemp("slurm") / "cluster")
    try:
        one.start()
        yield one
    finally:
        one.stop()

"""What several tests of whole runs share."""

from __future__ import annotations

import pytest
from support.checkpoints import make_checkpoint, score
from support.slurm import Cluster
from support.sweeps import many_texts


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    one = Cluster(tmp_path_factory.mktemp("slurm") / "cluster")
    try:
        one.start()
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return [make_checkpoint(folder / f"m{i}", seed=i) for i in range(6)]


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    return many_texts(tmp_path_factory.mktemp("texts") / "texts.jsonl", 400)


@pytest.fixture(scope="module")
def clean(models, texts, tmp_path_factory):
    """The store of a run to which nothing happens."""
    store = tmp_path_factory.mktemp("clean") / "store"
    assert score(store, texts, *models, batch_tokens=128).code == 0
    return store

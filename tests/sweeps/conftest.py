"""Runs of checkpoints, distances between them, and how often their files are read."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
from support.checkpoints import write_texts
from support.sweeps import STEPS, family
from support.weight_runs import make_run, planned, take_all

from jaxmap.checkpoint import weights


@pytest.fixture
def place(tmp_path):
    """A folder with a run of checkpoints of STEPS, and texts."""
    family(tmp_path, STEPS)
    write_texts(tmp_path / "texts.jsonl")
    return tmp_path


@pytest.fixture(scope="session")
def run13(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run"), 13)


@pytest.fixture(scope="session")
def whole(run13, tmp_path_factory):
    """The store's folder after an uninterrupted run."""
    store = tmp_path_factory.mktemp("whole")
    take_all(planned(store, 13), run13)
    return store


@pytest.fixture
def reads(monkeypatch):
    """How often each tensor of each file is read, and the bytes by checkpoint."""
    count: Counter[tuple[str, str]] = Counter()
    num_bytes: Counter[str] = Counter()
    real = weights.open_tensors

    class Counted:
        def __init__(self, folder):
            self.manager = real(folder)

        def __enter__(self):
            def counted(name, one):
                def read():
                    count[one.file.parent.name, name] += 1
                    num_bytes[one.file.parent.name] += one.num_bytes
                    return one.read()

                return dataclasses.replace(one, read=read)

            return {name: counted(name, one) for name, one in self.manager.__enter__().items()}

        def __exit__(self, *error):
            return self.manager.__exit__(*error)

    monkeypatch.setattr(weights, "open_tensors", Counted)
    return count, num_bytes

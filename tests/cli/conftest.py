"""A scored checkpoint, and a second one that a test spoils."""

from __future__ import annotations

import shutil

import pytest
from support.checkpoints import (
    make_checkpoint,
    score,
    write_texts,
)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """A folder with a good checkpoint, texts, and a store in which it is done."""
    folder = tmp_path_factory.mktemp("made")
    make_checkpoint(folder / "good")
    write_texts(folder / "texts.jsonl")
    assert score(folder / "store", folder / "texts.jsonl", folder / "good").code == 0
    return folder


@pytest.fixture
def place(made, tmp_path):
    """A copy of it, with a second checkpoint `bad` to be spoilt."""
    shutil.copytree(made, tmp_path / "p")
    shutil.copytree(made / "good", tmp_path / "p" / "bad")
    return tmp_path / "p"

"""Results that a store refuses, folders that are no store, disks that refuse."""

from __future__ import annotations

import errno
import os

import numpy as np
import pytest
from support.stores import FakeTexts, filled, record, texts

from jaxmap.errors import InputError, JaxmapError
from jaxmap.store import Failure, Item, Store

TEXTS = texts()


def test_scores_that_are_not_finite_are_refused(tmp_path):
    store = Store.create(tmp_path, TEXTS)
    for bad in (np.nan, np.inf, -np.inf):
        scores = np.full(len(TEXTS), -1.0)
        scores[[3, 5]] = bad
        with pytest.raises(InputError, match=r"org/name@step1.* 2 of 50 texts are NaN or inf"):
            store.add(record(TEXTS, revision="step1", scores=scores))
    assert store.records() == []
    assert os.listdir(tmp_path / "records") == []


def test_a_record_of_the_wrong_length_or_texts_is_refused(tmp_path):
    store = Store.create(tmp_path, TEXTS)
    with pytest.raises(ValueError, match="shape"):
        store.add(record(TEXTS, scores=np.zeros(len(TEXTS) + 1)))
    with pytest.raises(InputError, match="other texts"):
        store.add(record(texts(49)))


def test_a_store_made_with_other_texts(tmp_path):
    Store.create(tmp_path, TEXTS)
    other = FakeTexts("b" * 64, TEXTS.num_bytes[:20], "others.jsonl")
    with pytest.raises(InputError) as caught:
        Store.create(tmp_path, other)
    message = str(caught.value)
    for part in (str(tmp_path), "a50000000000", "b" * 12, "some texts.jsonl", "others.jsonl"):
        assert part in message
    assert "another `store`" in message
    assert "\n" not in message
    Store.create(tmp_path, TEXTS)


def test_paths_that_are_no_store(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for path in (tmp_path / "file", tmp_path / "file" / "x"):
        with pytest.raises(InputError, match="file"):
            Store.create(path, TEXTS)
        with pytest.raises(InputError, match="file"):
            Store.open(path)
    for path in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(InputError, match=r"no store.json.*`store`"):
            Store.open(path)
    with pytest.raises(InputError, match="no texts"):
        Store.create(tmp_path / "empty", FakeTexts("0", np.zeros(0, np.int64)))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 99}', '{"format": 1}'])
def test_a_store_json_that_cannot_be_read(tmp_path, content):
    (tmp_path / "store.json").write_text(content)
    with pytest.raises(InputError, match=r"store\.json: "):
        Store.open(tmp_path)
    with pytest.raises(InputError, match=r"store\.json: "):
        Store.create(tmp_path, TEXTS)
    assert (tmp_path / "store.json").read_text() == content


def test_a_read_only_store_opens_but_is_not_written(tmp_path, monkeypatch):
    store, _ = filled(tmp_path, TEXTS, record(TEXTS))
    before = sorted(tmp_path.rglob("*"))

    def refuses(path, *args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), os.fspath(path))

    # Permissions do not stop root, so the call that would fail is made to.
    monkeypatch.setattr("builtins.open", refuses)
    with pytest.raises(InputError, match="read-only"):
        Store.create(tmp_path, TEXTS)
    with pytest.raises(InputError, match="read-only"):
        store.add(record(TEXTS, "other"))
    monkeypatch.undo()
    assert len(Store.open(tmp_path).records()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_a_disk_that_fills_up(tmp_path, monkeypatch):
    store, _ = filled(tmp_path, TEXTS, record(TEXTS))

    def fails(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fails)
    for act in (
        lambda: store.add(record(TEXTS, "other")),
        lambda: store.add_failure(Failure(Item("other"), "why")),
        lambda: store.ask([Item("other")]),
    ):
        with pytest.raises(JaxmapError, match=f"{tmp_path}.*disk is full"):
            act()
    monkeypatch.undo()
    again = Store.open(tmp_path)
    assert [entry.label for entry in again.records()] == ["org/name"]
    assert (again.failures(), again.asked(), again.corrupt()) == ([], [], {})

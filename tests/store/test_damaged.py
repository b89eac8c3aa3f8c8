"""Damaged and foreign files of a store are named, and absent."""

from __future__ import annotations

import numpy as np
import pytest
from support.stores import filled, record, texts

from jaxmap.errors import JaxmapError
from jaxmap.store import Failure, Item, Store

TEXTS = texts()


def labels(store):
    return [entry.label for entry in store.records()]


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:5],
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: data + b"x",
        lambda data: bytes(len(data)),
        lambda data: flip(data, 3),  # the length of the header
        lambda data: flip(data, data.index(b"c0")),  # the commit
        lambda data: flip(data, len(data) - 9),  # a number
        lambda data: flip(data, len(data) // 2),
        lambda data: data.replace(b'"jaxmap"', b'"jaxmup"'),
    ],
)
def test_a_damaged_record_is_named_and_absent(tmp_path, damage, caplog):
    one, other = record(TEXTS), record(TEXTS, "other")
    _, (entry, _) = filled(tmp_path, TEXTS, one, other)
    entry.path.write_bytes(damage(entry.path.read_bytes()))

    store = Store.create(tmp_path, TEXTS)
    with caplog.at_level("WARNING"):
        assert labels(store) == ["other"]
        assert labels(store) == ["other"]
    assert len([r for r in caplog.records if str(entry.path) in r.getMessage()]) == 1
    assert list(store.corrupt()) == [entry.path]
    assert store.find(one.identity) is None
    store.add(one)
    assert labels(store) == ["org/name", "other"]
    assert store.corrupt() == {}


def test_every_flipped_bit_is_noticed(tmp_path):
    one = record(TEXTS)
    store, (entry,) = filled(tmp_path, TEXTS, one)
    data = entry.path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.choice(len(data), 150, replace=False):
        entry.path.write_bytes(flip(data, int(place)))
        found = Store.open(tmp_path).find(one.identity)
        # A flip may leave the file with the same meaning (a letter of an escape): never another.
        if found is not None:
            np.testing.assert_array_equal(store.load(found).log_likelihood, one.log_likelihood)


def test_a_record_damaged_after_opening(tmp_path):
    store, (entry,) = filled(tmp_path, TEXTS, record(TEXTS))
    entry.path.write_bytes(flip(entry.path.read_bytes(), -9 + entry.path.stat().st_size))
    with pytest.raises(JaxmapError, match="checksum"):
        store.load(entry)


def test_a_record_of_another_store_is_left_out(tmp_path):
    store, _ = filled(tmp_path / "a", TEXTS, record(TEXTS))
    of = texts(50, "other")
    _, (foreign,) = filled(tmp_path / "b", of, record(of, "foreign"))
    foreign.path.rename(tmp_path / "a" / "records" / foreign.path.name)
    assert labels(store) == ["org/name"]
    (reason,) = store.corrupt().values()
    assert "other texts" in reason


def test_a_record_of_a_later_version_is_left_out(tmp_path, monkeypatch):
    store = Store.create(tmp_path, TEXTS)
    monkeypatch.setattr("jaxmap.store.record_files.FORMAT", 3)
    store.add(record(TEXTS))
    monkeypatch.undo()
    store = Store.open(tmp_path)
    assert store.records() == []
    assert "format is 3" in next(iter(store.corrupt().values()))


def test_damaged_notes_are_absent(tmp_path):
    store = Store.create(tmp_path, TEXTS)
    store.ask([Item("a")])
    store.add_failure(Failure(Item("b"), "why"))
    for path in [*(tmp_path / "asked").iterdir(), *(tmp_path / "failures").iterdir()]:
        path.write_text('{"format": 1}')
    store = Store.open(tmp_path)
    assert (store.asked(), store.failures()) == ([], [])
    assert len(store.corrupt()) == 2
    store.ask([Item("a")])
    store.add_failure(Failure(Item("b"), "why"))
    assert store.asked() == [Item("a")]
    assert len(store.failures()) == 1
    assert store.corrupt() == {}

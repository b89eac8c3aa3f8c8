from __future__ import annotations

import errno
import json
import os
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from support.stores import FakeTexts, filled, record, texts

from jaxmap.corpus.texts import TextSet
from jaxmap.errors import InputError, JaxmapError
from jaxmap.store import Failure, Item, Store
from jaxmap.variant import Variant

TEXTS = texts()


def labels(store):
    return [entry.label for entry in store.records()]


# What comes back


def test_a_record_comes_back_whole(tmp_path):
    one = record(
        TEXTS,
        "folder/ä b",
        "step10",
        layer=3,
        quantisation="nf4",
        is_default_dtype=False,
        num_layers=6,
        truncated=2,
        context=512,
        versions={"jax": "1"},
        device="cpu",
        seconds=1.5,
        files=(("config.json", 10, 2**60, 5, 7),),
        model={"model_type": "gpt_neox"},
    )
    _, (entry,) = filled(tmp_path / "a störe with spaces", TEXTS, one)
    store = Store.open(tmp_path / "a störe with spaces")
    assert store.find(one.identity) == entry
    back = store.load(entry)
    assert (back.identity, back.provenance) == (one.identity, one.provenance)
    for name, dtype in (("log_likelihood", "f8"), ("num_tokens", "i4"), ("num_scored", "i4")):
        np.testing.assert_array_equal(getattr(back, name), getattr(one, name))
        assert getattr(back, name).dtype == np.dtype(dtype)
    np.testing.assert_array_equal(store.texts.text_bytes, TEXTS.num_bytes)
    assert store.texts.mean_bytes == TEXTS.num_bytes.mean()


def test_any_difference_in_what_a_result_depends_on_is_another_result(tmp_path):
    one = record(TEXTS)
    store, _ = filled(tmp_path, TEXTS, one)
    variant = one.identity.variant
    others = [
        replace(one.identity, **{field.name: f"{getattr(one.identity, field.name)}x"})
        for field in fields(one.identity)
        if field.name != "variant"
    ] + [
        replace(one.identity, variant=replace(variant, **{field.name: value}))
        for field, value in zip(
            fields(variant), ("float16", "int8", 7, "0" * 64, "torch"), strict=True
        )
        if field.name != "lens"  # says nothing of an output, but of a layer
    ]
    others.append(replace(one.identity, variant=replace(variant, layer=7, lens="0" * 64)))
    for other in others:
        assert store.find(other) is None, other
        assert other.key != one.identity.key
    assert store.find(replace(one.identity)) is not None


def test_file_names_are_only_for_people(tmp_path):
    one = record(TEXTS, "../../etc/passwd \n", "x" * 300)
    store, (entry,) = filled(tmp_path / "s", TEXTS, one)
    assert entry.path.parent == tmp_path / "s" / "records"
    entry.path.rename(entry.path.with_name("renamed.safetensors"))
    found = store.find(one.identity)
    assert found is not None
    assert found.path.name == "renamed.safetensors"
    store.add(one)  # again, under the first name
    assert len(store.records()) == 1
    assert store.superseded() == []


def test_a_real_text_set_makes_a_store(tmp_path):
    of = TextSet(("one", "zwölf"), None, "here")
    Store.create(tmp_path, of)
    assert Store.open(tmp_path).texts.text_bytes.tolist() == [3, 6]


# Labels and order


def test_labels_and_order(tmp_path):
    expected = [
        "a/b",
        "a/b#layer00",
        "a/b#layer09",
        "a/b#layer10",
        "a/b+bfloat16",
        "a/b+int8",
        "a/b+nf4",
        "a/b@step2",
        "a/b@step10",
        "a/b@step1000",
        "a/b10",
    ]
    records = [
        record(TEXTS, "a/b10"),
        *(record(TEXTS, "a/b", f"step{step}") for step in (1000, 2, 10)),
        record(TEXTS, "a/b", quantisation="nf4"),
        record(TEXTS, "a/b", dtype="bfloat16", is_default_dtype=False),
        *(record(TEXTS, "a/b", layer=layer) for layer in (10, 0, 9)),
        record(TEXTS, "a/b", quantisation="int8"),
        record(TEXTS, "a/b"),
    ]
    one, _ = filled(tmp_path / "one", TEXTS, *records)
    two, _ = filled(tmp_path / "two", TEXTS, *reversed(records))
    assert labels(one) == labels(two)
    # a/b2 would come before a/b10, and revisions of a/b before both
    assert labels(one) == expected


def test_two_default_dtypes_are_told_apart(tmp_path):
    """The same model scored with --dtype=auto on two kinds of device."""
    store, _ = filled(
        tmp_path, TEXTS, record(TEXTS, dtype="float32"), record(TEXTS, dtype="float16")
    )
    assert labels(store) == ["org/name+float16", "org/name+float32"]


def test_labels_never_collide(tmp_path):
    store, _ = filled(
        tmp_path, TEXTS, record(TEXTS, "a", "b"), record(TEXTS, "a@b"), record(TEXTS, "c")
    )
    assert len(set(labels(store))) == 3
    assert all(label.startswith("a@b+float32~") for label in labels(store)[:2])


@pytest.mark.parametrize("clock", ["forwards", "backwards"])
def test_the_newest_commit_is_shown_whole(tmp_path, clock):
    days = ["2026-01-01", "2026-02-02"]
    first, second = days if clock == "forwards" else reversed(days)
    old = [record(TEXTS, commit="old", layer=layer, created=first) for layer in (None, 0, 1)]
    new = [record(TEXTS, commit="new", created=second), record(TEXTS, "other", commit="old")]
    store, entries = filled(tmp_path, TEXTS, *old, *new)
    shown = {entry.label: entry.identity.commit for entry in store.records()}
    assert shown == {"org/name": "new", "other": "old"}
    assert [entry.identity.variant.layer for entry in store.superseded()] == [None, 0, 1]
    assert all(store.find(one.identity) is not None for one in old)  # nothing is lost
    content = {path: path.read_bytes() for path in (tmp_path / "records").iterdir()}
    store.add(old[0])  # is there: nothing is written again
    assert {path: path.read_bytes() for path in (tmp_path / "records").iterdir()} == content
    assert len(entries) == 5


def test_known_files(tmp_path):
    files = (("config.json", 10, 1, 2, 3), ("model.safetensors", 20, 1, 2, 4))
    store, _ = filled(
        tmp_path,
        TEXTS,
        record(TEXTS, "dir", commit="c1", files=files[:1]),
        record(TEXTS, "dir", commit="c2", files=files),
        record(TEXTS, "dir", commit="c2", files=files, layer=0),
        record(TEXTS, "dir", commit="c3"),
    )
    assert Store.open(tmp_path).known_files("dir", None) == [(files, "c2"), (files[:1], "c1")]
    assert store.known_files("dir", "step1") == []


# What is refused


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
        with pytest.raises(InputError, match=f"{tmp_path}.*disk is full"):
            act()
    monkeypatch.undo()
    again = Store.open(tmp_path)
    assert labels(again) == ["org/name"]
    assert (again.failures(), again.asked(), again.corrupt()) == ([], [], {})


# Damage


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


# Requests and failures


def test_asked_missing_failed_done(tmp_path):
    store = Store.create(tmp_path, TEXTS)
    items = [Item("a", f"step{step}") for step in (10, 2)] + [
        Item("b", variant=Variant(lens="logit"))
    ]
    store.ask(items)
    store.ask(items)
    store.ask([*items[:1], Item("b")])
    assert len(list((tmp_path / "asked").iterdir())) == 2
    assert [item.label for item in store.missing()] == ["a@step2", "a@step10", "b", "b#lens"]

    failure = Failure(items[0], "no weights", "input", commit="c0", versions={"jax": "1"})
    store.add_failure(Failure(items[0], "network down"))
    store.add_failure(failure)
    assert Store.open(tmp_path).failures() == [failure]
    assert items[0] not in store.missing()

    store.add(record(TEXTS, "a", "step10"))
    assert store.failures() == []
    assert [item.label for item in store.missing()] == ["a@step2", "b", "b#lens"]

    store.add_failure(Failure(items[2], "out of memory"))
    for layer in (None, 0, 1):
        store.add(record(TEXTS, "b", layer=layer, num_layers=2))
        assert not store.is_done(items[2])
    assert store.failures() != []
    store.add(record(TEXTS, "b", layer=2, num_layers=2))
    assert store.is_done(items[2])
    assert store.failures() == []
    assert [item.label for item in store.missing()] == ["a@step2"]


def test_layers_of_two_commits_do_not_make_one_lens(tmp_path):
    store, _ = filled(
        tmp_path,
        TEXTS,
        record(TEXTS, num_layers=1),
        record(TEXTS, layer=0, num_layers=1),
        record(TEXTS, layer=1, num_layers=1, commit="c1"),
    )
    assert not store.is_done(Item("org/name", variant=Variant(lens="logit")))
    assert store.is_done(Item("org/name"))
    assert not store.is_done(Item("org/name"), "c1")


def test_items_know_their_results(tmp_path):
    _, (default, asked, quantised) = filled(
        tmp_path,
        TEXTS,
        record(TEXTS, dtype="float32"),
        record(TEXTS, dtype="float16", is_default_dtype=False),
        record(TEXTS, dtype="float32", quantisation="int8"),
    )
    for item, expected in (
        (Item("org/name"), default),
        (Item("org/name", variant=Variant(precision="float32")), default),
        (Item("org/name", variant=Variant(precision="float16")), asked),
        (Item("org/name", variant=Variant(quantisation="int8")), quantised),
        (Item("org/name", "step1"), None),
    ):
        found = [one for one in (default, asked, quantised) if item.matches(one)]
        assert found == [one for one in (expected,) if one is not None], item


def test_a_failure_of_a_moved_model_stands_until_the_new_commit_is_scored(tmp_path):
    store, _ = filled(tmp_path, TEXTS, record(TEXTS, commit="old"))
    item = Item("org/name")
    store.add_failure(Failure(item, "NaN", commit="new"))
    store.settle(item, "new")
    assert len(store.failures()) == 1
    store.add(record(TEXTS, commit="new"))
    assert store.failures() == []


# Size


def test_each_record_is_read_once(tmp_path, monkeypatch):
    of = texts(100)
    store, (entry,) = filled(tmp_path, of, record(of))
    data = entry.path.read_bytes()
    copies = {tmp_path / "records" / f"{number}.safetensors" for number in range(40)}
    for path in copies:
        path.write_bytes(data)
    read: Counter[Path] = Counter()

    def counting(path, **options):
        read[path] += 1
        return safe_open(path, **options)

    monkeypatch.setattr("jaxmap.store.record_files.safe_open", counting)
    assert len(Store.open(tmp_path).records()) == 1
    assert read == Counter([entry.path, *copies])
    read.clear()
    store.find(record(of, "other").identity)
    store.find(record(of, "third").identity)  # by now the files are known by their names
    assert read <= Counter([entry.path, *copies])
    read.clear()
    store.find(record(of, "fourth").identity)
    assert not read


def test_dataset(tmp_path):
    store, _ = filled(
        tmp_path,
        TEXTS,
        record(TEXTS, "a/b", "step10", seed=1),
        record(TEXTS, "run/step2", layer=4, seed=2),
        record(TEXTS, "a/b", dtype="float16", is_default_dtype=False, seed=3),
    )
    data = Store.open(tmp_path).dataset()
    assert dict(data.sizes) == {"model": 3, "text": 50}
    assert data.model.values.tolist() == ["a/b+float16", "a/b@step10", "run/step2#layer04"]
    assert data.step.values.tolist() == [-1, 10, 2]
    assert data.layer.values.tolist() == [-1, -1, 4]
    assert data.revision.values.tolist() == ["", "step10", ""]
    assert data["dtype"].values.tolist() == ["float16", "float32", "float32"]
    expected = record(TEXTS, "a/b", "step10", seed=1)
    row = data.sel(model="a/b@step10")
    np.testing.assert_array_equal(row.log_likelihood, expected.log_likelihood)
    np.testing.assert_array_equal(row.num_tokens, expected.num_tokens)
    np.testing.assert_array_equal(row.num_scored, expected.num_scored)
    np.testing.assert_array_equal(data.text_bytes, TEXTS.num_bytes)
    assert data.attrs["mean_text_bytes"] == TEXTS.num_bytes.mean()
    assert data.attrs["texts"] == TEXTS.fingerprint
    assert store.texts.source == data.attrs["source"]


def test_an_empty_store_is_an_empty_dataset(tmp_path):
    Store.create(tmp_path, TEXTS)
    assert dict(Store.open(tmp_path).dataset().sizes) == {"model": 0, "text": 50}


def test_store_json_is_for_people_too(tmp_path):
    Store.create(tmp_path, TEXTS)
    facts = json.loads((tmp_path / "store.json").read_text())
    assert facts["source"] == "some texts.jsonl"
    assert facts["format"] == 2

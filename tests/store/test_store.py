"""A store: what comes back, how results are named and ordered, as a data set."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from support.stores import filled, record, texts

from jaxmap.corpus.texts import TextSet
from jaxmap.store import Store

TEXTS = texts()


def labels(store):
    return [entry.label for entry in store.records()]


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

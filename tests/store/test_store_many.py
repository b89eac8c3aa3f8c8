"""Many results: at once, as `jaxmap import` adds them, and by other workers meanwhile."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from support.stores import FakeTexts, filled, record, texts

from jaxmap.errors import InputError
from jaxmap.precision import PRECISIONS
from jaxmap.store import Item, Store, record_files
from jaxmap.store.record import checkpoint_name, file_stem, part_of_stems
from jaxmap.variant import ENGINES, QUANTISATIONS, Variant

TEXTS = texts()


def test_many_at_once_are_as_one_by_one(tmp_path):
    records = [record(TEXTS, f"m{k}") for k in range(4)]
    records += [record(TEXTS, "m0", layer=k) for k in range(3)]
    one_by_one, _ = filled(tmp_path / "a", TEXTS, *records)
    together = Store.create(tmp_path / "b", TEXTS)
    assert together.add_many(iter(records)) == 7
    assert together.add_many(records) == 0
    labels = [entry.label for entry in one_by_one.records()]
    assert [entry.label for entry in together.records()] == labels
    np.testing.assert_array_equal(
        together.log_likelihoods(together.records()),
        one_by_one.log_likelihoods(one_by_one.records()),
    )


def test_a_newer_commit_replaces_all_of_a_checkpoint(tmp_path):
    store = Store.create(tmp_path, TEXTS)
    store.add_many([record(TEXTS, "m"), record(TEXTS, "m", layer=0), record(TEXTS, "k")])
    newer = [record(TEXTS, "m", commit="c1"), record(TEXTS, "m", commit="c1", layer=1)]
    assert store.add_many(newer) == 2
    assert [entry.label for entry in store.records()] == ["k", "m", "m#layer01"]
    assert [entry.label for entry in store.superseded()] == ["m", "m#layer00"]


def test_a_bad_one_stops_and_those_before_it_stay(tmp_path):
    store = Store.create(tmp_path, TEXTS)
    bad = record(TEXTS, "b", scores=np.full(len(TEXTS), np.nan))
    with pytest.raises(InputError, match="NaN or infinite"):
        store.add_many([record(TEXTS, "a"), bad, record(TEXTS, "c")])
    assert [entry.label for entry in store.records()] == ["a"]
    with pytest.raises(InputError, match="other texts"):
        store.add_many([record(texts(51), "d")])


@dataclass(frozen=True)
class Stated:
    fingerprint: str
    num_bytes: np.ndarray
    source: str = "a release"


def test_texts_of_which_only_the_mean_is_known(tmp_path):
    made = Store.create(tmp_path, Stated("f" * 64, np.full(7, 972.3188)))
    opened = Store.open(tmp_path)
    for store in (made, opened):
        assert not store.texts.measured
        np.testing.assert_array_equal(store.texts.text_bytes, np.full(7, 972.3188))
        assert store.texts.mean_bytes == pytest.approx(972.3188, rel=1e-14)
    facts = json.loads((tmp_path / "store.json").read_text())
    assert facts["stated_mean_bytes"] == 972.3188
    assert "text_bytes" not in facts  # nobody measured any


def test_measured_bytes_stay_whole_numbers(tmp_path):
    store = Store.create(tmp_path, FakeTexts("f" * 64, np.array([3, 4])))
    assert store.texts.measured
    assert store.texts.text_bytes.dtype == np.int64


NAMES = [
    ("org/name", None),
    ("org/name", "step1000"),
    (" ./päth (1)/", "a."),
    ("..", None),
    ("/a/" + "long-" * 40 + "-.", "-"),
    ("x" * 99, "y"),
]
VARIANTS = [
    Variant(precision, quantisation, layer, lens, engine)
    for precision, quantisation, (layer, lens), engine in product(
        ("auto", *PRECISIONS), QUANTISATIONS, ((None, ""), (123, "f" * 64)), ENGINES
    )
]


@pytest.mark.parametrize(("ref", "revision"), NAMES)
def test_files_of_a_checkpoint_are_known_by_their_names(ref, revision):
    name = checkpoint_name(ref, revision)
    part = part_of_stems(name)
    assert all(part in file_stem(name + variant.label, "0" * 64) for variant in VARIANTS)
    assert len(part) <= 30
    assert part not in file_stem("quite/different@step7", "0" * 64) or not part


def test_results_of_other_checkpoints_are_not_read_while_a_run_goes_on(tmp_path, monkeypatch):
    made = Store.create(tmp_path, TEXTS)
    made.add_many(record(TEXTS, f"org/m{k}") for k in range(3))
    ours, theirs = Store.open(tmp_path), Store.open(tmp_path)
    assert not ours.is_done(Item("org/new"))
    read, real = [], record_files.read_entry
    monkeypatch.setattr(
        record_files, "read_entry", lambda path: read.append(path.name) or real(path)
    )
    theirs.add_many(record(TEXTS, f"org/of_others{k}") for k in range(3))
    theirs.add_many([record(TEXTS, "org/new")])
    read.clear()
    assert ours.is_done(Item("org/new"))
    assert [name.rpartition("-")[0] for name in read] == ["org-new+float32"]
    ours.add(record(TEXTS, "org/of_others1", commit="c1"))
    assert len(ours.entries()) == 8
    assert [entry.identity.commit for entry in ours.entries() if entry.generation == 2] == ["c1"]

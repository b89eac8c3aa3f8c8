"""What was asked of a store, and which of it is missing, failed or done."""

from __future__ import annotations

from support.stores import filled, record, texts

from jaxmap.store import Failure, Item, Store
from jaxmap.variant import Variant

TEXTS = texts()


def labels(store):
    return [entry.label for entry in store.records()]


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

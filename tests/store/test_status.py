from __future__ import annotations

from support.stores import filled, record, texts

from jaxmap.store import Failure, Item, Store
from jaxmap.store.status import status
from jaxmap.variant import Variant

TEXTS = texts()


def test_everything_that_can_be_said(tmp_path):
    store, (_, _, bad) = filled(
        tmp_path,
        TEXTS,
        record(TEXTS, "a", commit="0123456789abcdef"),
        record(TEXTS, "a", commit="new"),
        record(TEXTS, "damaged"),
    )
    store.ask(
        [
            Item("a"),
            Item("b"),
            Item("damaged"),
            Item("c", "step1", variant=Variant(quantisation="int8")),
        ]
    )
    store.add_failure(Failure(Item("b"), "b: no config.json", "input"))
    bad.path.write_bytes(b"")

    report = status(Store.open(tmp_path))
    assert report.results == ["a"]
    assert report.done == [Item("a")]
    assert [failure.item for failure in report.failed] == [Item("b")]
    assert report.missing == [
        Item("c", "step1", variant=Variant(quantisation="int8")),
        Item("damaged"),
    ]
    assert [entry.identity.commit for entry in report.superseded] == ["0123456789abcdef"]
    assert list(report.corrupt) == [bad.path]
    assert not report.complete

    text = report.text()
    for part in (
        "done        1 of 4 asked for",
        "failed      1\n  b: no config.json",
        "missing     2\n  c@step1+int8\n  damaged",
        "superseded  1",
        "  a of commit 0123456789ab",
        f"corrupt     1 (count as missing)\n  {bad.path}: ",
        "run the same command again",
        "50, ",
        "some texts.jsonl",
    ):
        assert part in text, part


def test_a_complete_store_says_only_that(tmp_path):
    store, _ = filled(tmp_path, TEXTS, record(TEXTS, "a"))
    store.ask([Item("a")])
    report = status(store)
    assert report.complete
    assert "done        1 of 1 asked for" in report.text()
    for word in ("superseded", "corrupt", "retry"):
        assert word not in report.text()


def test_long_lists_are_cut(tmp_path):
    store = Store.create(tmp_path, TEXTS)
    store.ask([Item("a", f"step{step}") for step in range(154)])
    text = status(store).text()
    assert "missing     154" in text
    assert "... and 134 more" in text
    assert len(text.splitlines()) < 40

from __future__ import annotations

import pytest
from support.stores import filled, record, texts

from jaxmap.errors import InputError
from jaxmap.store import Failure, Item, Store
from jaxmap.store.forget import forget
from jaxmap.store.requests import partial_path
from jaxmap.store.status import status
from jaxmap.store.weight_distances import (
    DistanceRequest,
    DistanceRow,
    DistanceTable,
    read_distances,
)
from jaxmap.variant import Variant

TEXTS = texts()


@pytest.fixture
def store(tmp_path) -> Store:
    """Two stages of a run with a slip of the hand, another model, and what failed or is missing."""
    steps = [f"stage{stage}-step{step}" for stage in (1, 2) for step in (1, 2, 3)]
    records = [record(TEXTS, "org/m", step) for step in steps]
    records += [record(TEXTS, "org/m", "stage1-step2", commit="c1"),  # supersedes
                record(TEXTS, "org/m", "stage1-step2", commit="c1", quantisation="int8"),
                record(TEXTS, "org/m", "stage1-step2", commit="c1", layer=1),
                record(TEXTS, "org/m"), record(TEXTS, "org/other")]  # fmt: skip
    made, _ = filled(tmp_path / "s", TEXTS, *records)
    made.ask([Item("org/m", "stage1-step2"), Item("org/m", "stage1-step9"), Item("org/other")],
             "jaxmap score one")  # fmt: skip
    made.ask([Item("org/m", "stage1-step9", Variant(quantisation="int8"))], "jaxmap score two")
    made.add_failure(Failure(Item("org/m", "stage1-step9"), "no such revision", "input"))
    for item in (Item("org/m", "stage1-step9"), Item("org/other")):
        path = partial_path(made.path, item)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"unfinished")
    rows = DistanceTable(made.path)
    rows.ask(DistanceRequest("org/m@stage1", (1, 2, 3), 2))
    for run in ("org/m@stage1", "org/m@stage2"):
        rows.add(DistanceRow(run, 2, "c0", {(1, "c0"): 1.0}))
        rows.add(DistanceRow(run, 3, "c0", {(1, "c0"): 4.0, (2, "c0"): 2.0}))
    return made


def files(store: Store) -> set[str]:
    return {str(path.relative_to(store.path)) for path in store.path.rglob("*") if path.is_file()}


def test_one_checkpoint_whole_and_nothing_else(store):
    before = files(store)
    gone = forget(store, [("org/m", "stage1-step2")])
    assert gone.rows() == (("org/m@stage1-step2", 4, 0, 1),)
    assert gone.text() == "1 models forgotten: 4 results, 0 failures, 1 requests\n"
    again = Store.open(store.path)
    labels = [entry.label for entry in again.records()]
    assert labels == [
        "org/m", "org/m@stage1-step1", "org/m@stage1-step3", "org/m@stage2-step1",
        "org/m@stage2-step2", "org/m@stage2-step3", "org/other",
    ]  # fmt: skip
    assert again.superseded() == []
    assert [item.label for item in again.asked()] == [
        "org/m@stage1-step9+int8", "org/m@stage1-step9", "org/other",
    ]  # fmt: skip
    assert again.commands([Item("org/other")]) == ["jaxmap score one"]
    found = read_distances(store.path)
    assert found["org/m@stage1"].steps.tolist() == [1, 3]
    assert found["org/m@stage1"].distance[0, 1] == 4.0
    assert found["org/m@stage2"].steps.tolist() == [1, 2, 3]
    assert DistanceTable(store.path).count() == (1, 1)
    rewritten = {"asked", "weights"}
    assert {name for name in files(store) - before if name.split("/")[0] not in rewritten} == set()


def test_what_was_never_there(store):
    """A slip in a range leaves failures and questions, and no result."""
    gone = forget(store, [("org/m", "stage1-step9")])
    assert gone.rows() == (("org/m@stage1-step9", 0, 1, 2),)
    report = status(Store.open(store.path))
    assert (report.failed, report.missing) == ([], [])
    assert [path.name.startswith("org-other") for path in (store.path / "partial").iterdir()] == [
        True
    ]
    assert len(list((store.path / "asked").iterdir())) == 1


def test_patterns_match_what_the_store_knows(store):
    gone = forget(store, [("org/m", "stage1-*")])
    assert [row[0] for row in gone.rows()] == [f"org/m@stage1-step{n}" for n in (1, 2, 3, 9)]
    assert "org/m@stage1" not in read_distances(store.path)
    forget(store, [("org/m", "*")])
    assert [entry.label for entry in store.records()] == ["org/m", "org/other"]
    forget(store, [("org/*", None)])
    assert store.records() == []
    assert store.asked() == []


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (("org/m", "stage1-step4"), "knows nothing of org/m@stage1-step4.*nearest: org/m@stage1-"),
        (("org/n", "*"), r"knows nothing of org/n@\*"),
        (("org/othr", None), "nearest: org/other"),
    ],
)
def test_nothing_goes_where_one_is_unknown(model, words, store):
    before = files(store)
    with pytest.raises(InputError, match=words) as caught:
        forget(store, [("org/other", None), model])
    assert caught.value.field == "models"
    assert files(store) == before


def test_all_revisions_have_to_be_meant(tmp_path):
    store, _ = filled(tmp_path, TEXTS, record(TEXTS, "org/m", "step1"))
    with pytest.raises(InputError, match=r"write org/m@\* for all of its revisions"):
        forget(store, [("org/m", None)])

"""`status` names results whose texts would have other tokens by today's rule."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from support.checkpoints import make_checkpoint, write_texts
from support.stores import record, texts

from jaxmap.cli import run
from jaxmap.corpus.vocabulary import RULE, RULE_NAME
from jaxmap.store import Store
from jaxmap.store.record import Record
from jaxmap.store.status import status


def aged(root, scored: Record, **arrays: np.ndarray) -> Store:
    """A store with a result as an earlier version kept it, which named no rule of tokens."""
    facts = Store.open(root / "store").texts
    store = Store.create(root / "aged", Facts(facts.fingerprint, facts.text_bytes, facts.source))
    versions = {k: v for k, v in scored.provenance.versions.items() if k != RULE_NAME}
    old = dataclasses.replace(scored.provenance, versions=versions)
    identity = dataclasses.replace(scored.identity, tokenizer="an earlier fingerprint")
    arrays = {**scored.arrays, **arrays}
    store.add(dataclasses.replace(scored, identity=identity, provenance=old, arrays=arrays))
    return Store.open(root / "aged")


@dataclasses.dataclass(frozen=True)
class Facts:
    fingerprint: str
    num_bytes: np.ndarray
    source: str


@pytest.fixture
def scored(tmp_path) -> Record:
    model = make_checkpoint(tmp_path / "model")
    file = write_texts(tmp_path / "t.jsonl")
    flags = f"--store={tmp_path / 'store'}", f"--texts={file}", f"--models={model}"
    assert run(["score", *flags]) == 0
    store = Store.open(tmp_path / "store")
    [entry] = store.records()
    return store.load(entry)


def test_a_new_result_names_its_rule_and_is_passed_over(tmp_path, scored):
    assert scored.provenance.versions[RULE_NAME] == str(RULE)
    report = status(Store.open(tmp_path / "store"))
    assert (report.tokens.changed, report.tokens.unknown) == ([], [])
    assert "tokens " not in report.text()


def test_results_with_the_same_tokens_are_passed_over(tmp_path, scored):
    report = status(aged(tmp_path, scored))
    assert (report.tokens.changed, report.tokens.unknown) == ([], [])


@pytest.mark.parametrize("name", ["num_tokens", "num_scored"])
def test_results_with_other_tokens_are_named_and_what_to_do(tmp_path, scored, name):
    other = scored.arrays[name].copy()
    other[2] -= 1
    store = aged(tmp_path, scored, **{name: other})
    report = status(store)
    assert [entry.identity.ref for entry in report.tokens.changed] == [str(tmp_path / "model")]
    text = report.text()
    assert f"`jaxmap forget` them and run the command again\n  {tmp_path / 'model'}\n" in text
    assert status(store, compare_tokens=False).tokens is None
    flags = [f"--store={store.path}", f"--models={tmp_path / 'model'}"]
    assert run(["forget", *flags]) == 0
    assert run(["score", *flags, f"--texts={tmp_path / 't.jsonl'}"]) == 0
    assert status(Store.open(store.path)).tokens.changed == []


@pytest.mark.parametrize("gone", ["texts", "tokenizer", "both"])
def test_what_cannot_be_compared_is_said(tmp_path, scored, gone):
    store = aged(tmp_path, scored)
    if gone in ("texts", "both"):
        (tmp_path / "t.jsonl").write_text(json.dumps({"text": "other"}) + "\n")
    if gone in ("tokenizer", "both"):
        (tmp_path / "model/tokenizer.json").unlink()
    report = status(store)
    assert report.tokens.changed == []
    assert len(report.tokens.unknown) == 1
    assert "not on this machine to compare" in report.text()


def test_results_that_were_not_scored_here_are_passed_over(tmp_path):
    of = texts()
    store = Store.create(tmp_path / "s", of)
    store.add(record(of, "imported", tokenizer="released"))
    pmi = record(of, "pmi", versions={"jaxmap": "0"})
    scores, *_ = pmi.arrays.values()
    store.add(dataclasses.replace(pmi, arrays={"pmi": scores}))
    store.add(record(of, "org/old", versions={"jaxmap": "0"}))
    [unknown] = status(store).tokens.unknown
    assert unknown.identity.ref == "org/old"

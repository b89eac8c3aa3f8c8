"""The same texts in another order are told from other texts."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.stores import record

from jaxmap.api.tokens import tokens
from jaxmap.corpus.texts import TextSet
from jaxmap.errors import InputError
from jaxmap.store import Store
from jaxmap.store.text_facts import difference

TEXTS = TextSet(tuple(f"text {'x' * i}" for i in range(10)), source="texts.jsonl")
TURNED = TextSet(TEXTS.texts[::-1], source="turned.jsonl")
OTHER = TextSet((*TEXTS.texts[:9], "another"), source="other.jsonl")


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "store", TEXTS)


def test_the_fingerprint_of_any_order():
    assert TURNED.unordered_fingerprint == TEXTS.unordered_fingerprint
    assert TURNED.fingerprint != TEXTS.fingerprint
    assert OTHER.unordered_fingerprint != TEXTS.unordered_fingerprint
    twice = TextSet(TEXTS.texts + TEXTS.texts[:1])
    assert twice.unordered_fingerprint != TEXTS.unordered_fingerprint
    # A prompt is told from the beginning of a response.
    some, others = (TextSet(("bc",), ("a",)), TextSet(("c",), ("ab",)))
    assert some.unordered_fingerprint != others.unordered_fingerprint


def test_a_store_of_the_same_texts_in_another_order(store):
    with pytest.raises(InputError, match="made with the same texts in another order") as caught:
        Store.create(store.path, TURNED)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="made with other texts"):
        Store.create(store.path, OTHER)


def test_commands_that_take_the_texts_of_a_store(store):
    store.add(record(_facts(TEXTS), scores=np.arange(10.0)))
    with pytest.raises(InputError, match="but the same in another order"):
        tokens(store, texts=TURNED)
    with pytest.raises(InputError, match=r"not the texts that the store was made with$"):
        tokens(store, texts=OTHER)


def test_stores_of_earlier_versions_do_not_know(store):
    path = store.path / "store.json"
    facts = json.loads(path.read_text())
    del facts["unordered_fingerprint"]
    path.write_text(json.dumps(facts))
    with pytest.raises(InputError, match="made with other texts"):
        Store.create(store.path, TURNED)
    assert difference(Store.open(store.path).texts, TURNED) == "other texts"


def _facts(texts: TextSet):
    from support.stores import FakeTexts

    return FakeTexts(texts.fingerprint, texts.num_bytes)

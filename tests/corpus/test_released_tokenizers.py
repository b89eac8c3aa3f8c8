"""Ids of the tokenizers of released models are those that transformers 4.57.6 gave.

Published vectors were made with transformers 4; transformers 5 gives other ids for many of them.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from support import REPOSITORY
from support.released_tokenizers import RELEASED, TEXTS

from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import load_tokenizer, restore

EXPECTED = json.loads((REPOSITORY / "tests/data/released_tokenizers.json").read_text("utf-8"))


def ids_of(tokenizer) -> list[list[int]]:
    tokens = tokenizer.encode(TextSet(TEXTS))
    return [part.tolist() for part in np.split(tokens.ids, tokens.offsets[1:-1])]


def test_the_table_and_its_ids_belong_together():
    assert [one.name for one in RELEASED] == list(EXPECTED["ids"])
    assert EXPECTED["versions"]["transformers"] == "4.57.6"


@pytest.mark.parametrize("released", RELEASED, ids=lambda one: one.name)
def test_ids_are_those_of_transformers_4(tmp_path, released):
    tokenizer = load_tokenizer(released.write(tmp_path / released.name))
    assert ids_of(tokenizer) == EXPECTED["ids"][released.name]
    if tokenizer.kept is not None:
        again = restore(tokenizer.kept, tokenizer.special_rule, "kept")
        assert again.fingerprint == tokenizer.fingerprint
        assert ids_of(again) == EXPECTED["ids"][released.name]

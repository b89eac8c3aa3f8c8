from __future__ import annotations

import json

import numpy as np
import pytest
from support.stores import filled, record, texts

from jaxmap.analysis.genealogy import (
    base_models,
    generations,
    known_parents,
    parents_of,
    read_parents,
    save_known,
    types_of,
)
from jaxmap.errors import InputError, JaxmapError

CARDS = {"org/child": ("org/parent",), "org/merge": ("org/a", "org/b"), "org/base": ()}


def never(name):
    raise AssertionError(f"asked for {name}")


@pytest.mark.parametrize(
    ("card", "parents"),
    [
        (None, ()),
        ({}, ()),
        ({"base_model": "org/a"}, ("org/a",)),
        ({"base_model": " org/a "}, ("org/a",)),
        ({"base_model": ["org/a"]}, ("org/a",)),
        ({"base_model": ["org/a", "org/b", "org/a"]}, ("org/a", "org/b")),
        ({"base_model": []}, ()),
        ({"base_model": ""}, ()),
        ({"base_model": {"name": "x"}}, ()),
    ],
)
def test_what_a_card_says(card, parents):
    assert base_models(card) == parents


def test_the_hub_is_asked_once(tmp_path):
    asked = []

    def ask(name):
        asked.append(name)
        return CARDS[name]

    assert parents_of(tmp_path, CARDS, ask=ask) == CARDS
    assert parents_of(tmp_path, [*CARDS, "org/child"], ask=never) == CARDS
    assert asked == list(CARDS)
    assert read_parents(tmp_path / "genealogy/cards.json") == CARDS


def test_a_file_wins_over_the_store_and_that_over_cards(tmp_path):
    parents_of(tmp_path, CARDS, ask=CARDS.__getitem__)
    save_known(tmp_path, {"org/child": ("org/other",), "org/merge": ("org/a",)}, None)
    path = tmp_path / "mine.json"
    path.write_text('{"org/child": null, "org/stranger": "org/x"}')
    expected = {"org/child": (), "org/merge": ("org/a",), "org/base": ()}
    assert parents_of(tmp_path, CARDS, path, ask=never) == expected
    assert known_parents(tmp_path) == {"org/child": ("org/other",), "org/merge": ("org/a",)}


def test_a_model_that_is_not_there_costs_the_others_nothing(tmp_path, caplog):
    def ask(name):
        if name == "org/merge":
            raise InputError("org/merge: no such model")
        return CARDS[name]

    assert parents_of(tmp_path, CARDS, ask=ask) == {
        "org/child": ("org/parent",), "org/base": (),
    }  # fmt: skip
    assert "parents of 1 models are not known, for example: org/merge" in caplog.text
    assert parents_of(tmp_path, CARDS, ask=CARDS.__getitem__) == CARDS  # asked again


def test_a_network_that_fails_keeps_what_came(tmp_path, caplog):
    def ask(name):
        if name == "org/merge":
            raise JaxmapError("org/merge: HTTP 503 after 5 tries")
        return CARDS[name]

    assert parents_of(tmp_path, CARDS, ask=ask) == {"org/child": ("org/parent",)}
    assert "HTTP 503" in caplog.text
    assert read_parents(tmp_path / "genealogy/cards.json") == {"org/child": ("org/parent",)}


def test_offline_and_folders(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    (tmp_path / "model").mkdir()
    assert parents_of(tmp_path, [str(tmp_path / "model")]) == {}
    assert caplog.text == ""
    assert parents_of(tmp_path, ["org/name"]) == {}
    assert "offline" in caplog.text
    assert not (tmp_path / "genealogy").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "no JSON object"),
        ("{", "cannot be read as JSON"),
        ('{"a": 3}', "'a': the parent has to be a name"),
        ('{"a": ["b", 1]}', "'a': the parent has to be a name"),
    ],
)
def test_files_that_do_not_fit(tmp_path, content, message):
    path = tmp_path / "parents.json"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        parents_of(tmp_path, ["a"], path, ask=never)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_hub_itself(tmp_path, monkeypatch):
    """Against the library's own answer type, with the request replaced."""
    from huggingface_hub import HfApi, ModelCardData
    from huggingface_hub.hf_api import ModelInfo

    def model_info(self, name, timeout):
        assert timeout
        info = ModelInfo(id=name, siblings=[], tags=[])
        info.card_data = ModelCardData(base_model=["org/a"]) if name == "org/x" else None
        return info

    monkeypatch.setattr(HfApi, "model_info", model_info)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert parents_of(tmp_path, ["org/x", "org/y"]) == {"org/x": ("org/a",), "org/y": ()}


def test_types(tmp_path):
    of = texts()
    records = [record(of, "org/a", model={"model_type": "llama"}), record(of, "org/b"),
               record(of, "org/c", model={"model_type": "qwen2"})]  # fmt: skip
    store, _ = filled(tmp_path, of, *records)
    assert types_of(store.path, store.records()) == {"org/a": "llama", "org/c": "qwen2"}
    save_known(store.path, None, {"org/a": "vicuna"})
    assert types_of(store.path, store.records()) == {"org/a": "vicuna", "org/c": "qwen2"}
    assert json.loads((store.path / "genealogy/types.json").read_text()) == {"org/a": "vicuna"}


def test_generations_are_counted_from_the_root():
    pairs = np.array([[0, 1], [1, 2], [2, 3], [3, 4], [0, 4]])
    assert generations(6, pairs).tolist() == [1, 2, 3, 4, 5, 1]
    assert len(generations(2, np.array([[0, 1], [1, 0]]))) == 2  # ends

"""Flags and names of models that mean nothing: exit code 2 and what was meant."""

from __future__ import annotations

import pytest
from support.checkpoints import (
    jaxmap,
    score,
)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("./none", "no such folder"),
        ("~/none", "no such folder"),
        ("none.gguf", "no such file"),
        ("good/none.gguf", "no such file"),
        ("good/none.safetensors", "no such file"),
        ("good/model.safetensors", "is a file; name the folder that it is in, good"),
        ("org/name/model.safetensors", "no such file"),
    ],
)
def test_what_looks_like_a_path_is_not_asked_of_the_hub(name, reason, place, monkeypatch):
    def asked(*_, **__):
        raise AssertionError("the Hub was asked")

    monkeypatch.setattr("jaxmap.checkpoint.sources.hub.resolve", asked)
    monkeypatch.chdir(place)
    ran = score(place / "store", place / "texts.jsonl", name)
    assert (ran.code, len(ran.messages)) == (2, 1)
    assert reason in ran.messages[0]
    assert ran.messages[0].count(name.removeprefix("~")) == 1  # the name once


def test_a_name_that_begins_as_a_folder_does_is_mentioned(place, monkeypatch):
    from jaxmap.checkpoint.refs import folder_like

    monkeypatch.chdir(place)
    (place / "org" / "base").mkdir(parents=True)
    names = ("org/none", "org/base", "elsewhere/none", "./org/none", "org")
    assert [folder_like(name) for name in names] == ["org", "", "", "", ""]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scroe"], ["unknown command 'scroe'", "did you mean score", "status"]),
        (["frobnicate"], ["unknown command 'frobnicate'", "score", "export"]),
        (["score", "--modles=x"], ["unknown flag --modles", "did you mean --models", "--help"]),
        (["score", "--zzz"], ["unknown flag --zzz"]),
        (["score", "--dtype=int8"], ["--dtype", "int8", "float32"]),
        (["score", "--batch_tokens=-1"], ["batch_tokens"]),
        (["score", "--batch_tokens=many"], ["batch_tokens", "many"]),
        (["score", "--store=s", "--texts=t"], ["--models is required"]),
        (["score", "models"], ["unexpected argument 'models'", "--name=value"]),
        (["score", "--store"], ["store"]),
        (["status"], ["--store is required"]),
        (["kl", "--store=s"], ["--out is required"]),
    ],
)
def test_bad_flags(arguments, words):
    ran = jaxmap(*arguments)
    assert (ran.code, ran.out, len(ran.messages)) == (2, "", 1)
    for word in words:
        assert word in ran.messages[0]


@pytest.mark.parametrize("models", ["a@", "{a,b", "org/name@step{5:1:2}", ",", "a,,b"])
def test_bad_models(models, place):
    ran = score(place / "store", place / "texts.jsonl", models)
    assert (ran.code, len(ran.messages), ran.out) == (2, 1, "")
    assert "--models" in ran.messages[0] or models.strip(",") in ran.messages[0]


def test_bad_pairs_and_endings(place):
    for flags, word in (
        (["kl", f"--out={place}/kl.csv", "--pairs=sideways"], "sideways"),
        (["kl", f"--out={place}/kl.csv", "--pairs=a:b"], "a"),
        (["export", f"--out={place}/x.parquet"], ".parquet"),
        (["export", f"--out={place}/texts.jsonl/x.npz"], "texts.jsonl"),
    ):
        ran = jaxmap(*flags, f"--store={place}/store")
        assert (ran.code, len(ran.messages)) == (2, 1)
        assert word in ran.messages[0]
    assert not (place / "kl.csv").exists()

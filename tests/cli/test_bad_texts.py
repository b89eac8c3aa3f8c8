"""Texts that cannot be read, or repeat: one line with file and line number."""

from __future__ import annotations

import pytest
from support.checkpoints import (
    score,
    write_texts,
)

from jaxmap.store import Store


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.jsonl", b"", ["no texts"]),
        ("blank.jsonl", b"\n\n", ["no texts"]),
        ("list.jsonl", b'{"text": "a"}\n\n["b"]\n', ["line 3", "not an object"]),
        ("number.jsonl", b'{"text": "a"}\n5\n', ["line 2", "not an object"]),
        ("broken.jsonl", b'{"text": "a"}\n{"text": \n', ["line 2", "not JSON"]),
        ("field.jsonl", b'{"txt": "a"}\n', ["line 1", "no `text`"]),
        ("kind.jsonl", b'{"text": 3}\n', ["line 1", "not a string"]),
        ("bytes.jsonl", b'{"text": "a"}\n{"text": "\xff"}\n', ["line 2", "invalid UTF-8"]),
        ("half.jsonl", b'{"text": "a"}\n{"prompt": "a"}\n', ["line 2", "alone"]),
        ("mixed.jsonl", b'{"text": "a"}\n{"prompt": "a", "response": "b"}\n', ["line 2", "pair"]),
        ("bytes.txt", b"good\nb\xffd\n", ["line 2", "invalid UTF-8"]),
        ("cut.jsonl.gz", b"\x1f\x8b\x08\x00", ["truncated or corrupt"]),
        ("texts.parquet", b"", ["unknown kind", ".jsonl"]),
        ("object.json", b"{}", ["not a list"]),
    ],
)
def test_bad_texts(name, content, words, made, tmp_path):
    texts = tmp_path / name
    texts.write_bytes(content)
    ran = score(tmp_path / "store", texts, made / "good")
    assert (ran.code, len(ran.messages), ran.out) == (2, 1, "")
    for word in [str(texts), *words]:
        assert word in ran.messages[0]
    assert not (tmp_path / "store").exists()


def test_missing_texts(made, tmp_path):
    ran = score(tmp_path / "store", tmp_path / "no.jsonl", made / "good")
    assert (ran.code, ran.messages) == (2, [f"{tmp_path}/no.jsonl: no such file"])


def test_duplicate_texts_are_a_warning(made, tmp_path):
    texts = write_texts(tmp_path / "t.jsonl", ["a b c", "d", "a b c"])
    ran = score(tmp_path / "store", texts, made / "good")
    assert ran.code == 0
    [line] = ran.messages
    assert "1 of 3 texts repeat" in line
    assert "texts 1 and 3" in line
    [entry] = Store.open(tmp_path / "store").records()
    scores = Store.open(tmp_path / "store").load(entry).log_likelihood
    assert abs(scores[0] - scores[2]) < 1e-4

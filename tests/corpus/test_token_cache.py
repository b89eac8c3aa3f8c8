"""Tokenised texts kept in a folder: the same ids, found again, shared and safe to lose."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import NEOX, TEXTS, add_tokenizer, write_config

from jaxmap.corpus import token_cache
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.token_cache import TokenisedTexts
from jaxmap.corpus.tokens import Tokens, load_tokenizer

TEXT_SET = TextSet(texts=tuple(TEXTS), prompts=None, source="test")


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    write_config(folder, NEOX)
    add_tokenizer(folder)
    return folder


def same(a: Tokens, b: Tokens) -> bool:
    return all(
        np.array_equal(getattr(a, f.name), getattr(b, f.name))
        and getattr(a, f.name).dtype == getattr(b, f.name).dtype
        for f in dataclasses.fields(Tokens)
    )


def test_a_later_run_finds_the_ids_without_the_tokenizer(checkpoint, tmp_path, monkeypatch):
    kept = tmp_path / "store" / "tokens"
    kept.parent.mkdir()
    first = TokenisedTexts(TEXT_SET, kept).read_by(checkpoint, 16)
    tokenizer = load_tokenizer(checkpoint)
    assert same(first.tokens, tokenizer.encode(TEXT_SET, 16))
    assert first.fingerprint == tokenizer.fingerprint
    assert first.special_rule == tokenizer.special_rule

    monkeypatch.setattr(token_cache, "load_tokenizer", lambda folder: pytest.fail("loaded again"))
    again = TokenisedTexts(TEXT_SET, kept).read_by(checkpoint, 16)
    assert same(again.tokens, first.tokens)
    assert (again.fingerprint, again.special_rule) == (first.fingerprint, first.special_rule)


def test_checkpoints_with_one_tokenizer_share_one_file(checkpoint, tmp_path):
    other = tmp_path / "larger"
    shutil.copytree(checkpoint, other)
    write_config(other, {**NEOX, "num_hidden_layers": 3})
    kept = tmp_path / "tokens"
    texts = TokenisedTexts(TEXT_SET, kept)
    assert texts.read_by(checkpoint, 16).tokens is texts.read_by(other, 16).tokens
    assert len(list(kept.glob("*.npz"))) == 1
    assert len(list(kept.glob("*.json"))) == 2


@pytest.mark.parametrize("what", ["context", "texts", "tokenizer", "versions"])
def test_what_ids_depend_on_is_never_mixed_up(checkpoint, tmp_path, monkeypatch, what):
    kept, texts, context = tmp_path / "tokens", TEXT_SET, 16
    before = TokenisedTexts(texts, kept).read_by(checkpoint, context)
    if what == "context":
        context = 4
    elif what == "texts":
        texts = TextSet(texts=tuple(reversed(TEXTS)), prompts=None, source="test")
    elif what == "tokenizer":
        path = checkpoint / "tokenizer.json"
        path.write_text(
            path.read_text().replace('"add_prefix_space":false', '"add_prefix_space":true')
        )
        assert "true" in path.read_text()
    else:
        version = token_cache.importlib.metadata.version
        monkeypatch.setattr(
            token_cache.importlib.metadata, "version", lambda name: version(name) + ".post1"
        )
    after = TokenisedTexts(texts, kept).read_by(checkpoint, context)
    assert same(after.tokens, load_tokenizer(checkpoint).encode(texts, context))
    assert len(list(kept.glob("*.npz"))) == 2
    assert same(after.tokens, before.tokens) == (what == "versions")


@pytest.mark.parametrize("damage", ["half", "empty", "other", "bit"])
@pytest.mark.parametrize("form", ["npz", "json"])
def test_damaged_files_are_made_again(checkpoint, tmp_path, form, damage):
    kept = tmp_path / "tokens"
    first = TokenisedTexts(TEXT_SET, kept).read_by(checkpoint, None)
    [path] = kept.glob(f"*.{form}")
    whole = path.read_bytes()
    middle = len(whole) // 2
    broken = {
        "half": whole[:middle],
        "empty": b"",
        "other": b"[1, 2]",
        "bit": whole[:middle] + bytes([whole[middle] ^ 0x80]) + whole[middle + 1 :],
    }[damage]
    path.write_bytes(broken)
    again = TokenisedTexts(TEXT_SET, kept).read_by(checkpoint, None)
    assert same(again.tokens, first.tokens)
    assert again.fingerprint == first.fingerprint
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_nothing_but_time(checkpoint, tmp_path):
    (tmp_path / "tokens").write_text("a file where the folder should be")
    got = TokenisedTexts(TEXT_SET, tmp_path / "tokens").read_by(checkpoint, None)
    assert same(got.tokens, load_tokenizer(checkpoint).encode(TEXT_SET, None))

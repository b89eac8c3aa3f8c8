"""Tokenizers kept in the user's cache folder: the same ids, safe to lose."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import (
    NEOX,
    TEXTS,
    add_tokenizer,
    make_checkpoint,
    write_config,
    write_texts,
)

from jaxmap.corpus import token_cache
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.token_cache import TokenisedTexts
from jaxmap.corpus.tokens import load_tokenizer, restore

ODD = (*TEXTS, "<|endoftext|> in the <|endoftext|>text", "\x00\u200b e\u0301 \ufb01", "a" * 2000)
UNUSED = ("torch", "transformers", "matplotlib", "sklearn", "scipy", "xarray", "h5py", "pandas")
UNUSED += ("orbax", "datasets", "plotly", "httpx", "huggingface_hub", "ml_collections")
RULES = {
    "none": None,
    "bos+eos": {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {
            "<|endoftext|>": {"id": "<|endoftext|>", "ids": [0], "tokens": ["<|endoftext|>"]}
        },
    },
}


def folder_of(path: Path, rule: str = "none", **changes: object) -> Path:
    path.mkdir()
    write_config(path, NEOX)
    add_tokenizer(path)
    file = path / "tokenizer.json"
    state = {**json.loads(file.read_text()), "post_processor": RULES[rule]}
    file.write_text(json.dumps(state))
    config = json.loads((path / "tokenizer_config.json").read_text())
    (path / "tokenizer_config.json").write_text(json.dumps({**config, **changes}))
    return path


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_a_restored_tokenizer_is_the_same(tmp_path, rule, split):
    from transformers import AutoTokenizer

    folder = folder_of(tmp_path / "m", rule, split_special_tokens=split)
    first = load_tokenizer(folder)
    again = restore(first.kept, first.special_rule, str(folder))
    assert again == first
    assert again.kept == first.kept
    reference = AutoTokenizer.from_pretrained(folder)
    expected = [reference(text).input_ids for text in ODD]
    for tokenizer in (first, again):
        tokens = tokenizer.encode(TextSet(ODD))
        assert [p.tolist() for p in np.split(tokens.ids, tokens.offsets[1:-1])] == expected


def test_a_new_store_finds_the_tokenizer(tmp_path, monkeypatch):
    folder, cache = folder_of(tmp_path / "m", "bos+eos"), tmp_path / "cache"
    first = TokenisedTexts(TextSet(ODD), tmp_path / "a", cache).read_by(folder, 16)
    assert len(list(cache.iterdir())) == 2

    monkeypatch.setattr(token_cache, "load_tokenizer", lambda folder: pytest.fail("loaded again"))
    again = TokenisedTexts(TextSet(ODD), tmp_path / "b", cache).read_by(folder, 16)
    assert (again.fingerprint, again.special_rule) == (first.fingerprint, "eos+eos")
    np.testing.assert_array_equal(again.tokens.ids, first.tokens.ids)
    np.testing.assert_array_equal(again.tokens.first_scored, first.tokens.first_scored)


@pytest.mark.parametrize("damage", ["half", "empty", "other", "changed"])
@pytest.mark.parametrize("form", ["json", "tokenizer"])
def test_what_is_damaged_is_made_again(tmp_path, form, damage):
    folder, cache = folder_of(tmp_path / "m"), tmp_path / "cache"
    first = TokenisedTexts(TextSet(ODD), tmp_path / "a", cache).read_by(folder, None)
    [path] = cache.glob(f"*.{form}")
    whole = path.read_bytes()
    changed = whole.replace(b'"none"', b'"eos"').replace(b'"quick"', b'"quack"')
    changed = changed.replace(b'"prefix": []', b'"prefix": [0]')
    assert changed != whole
    path.write_bytes(
        {"half": whole[: len(whole) // 2], "empty": b"", "other": b"[1, 2]", "changed": changed}[
            damage
        ]
    )
    again = TokenisedTexts(TextSet(ODD), tmp_path / "b", cache).read_by(folder, None)
    assert (again.fingerprint, again.special_rule) == (first.fingerprint, first.special_rule)
    np.testing.assert_array_equal(again.tokens.ids, first.tokens.ids)
    assert path.read_bytes() == whole


def test_scoring_imports_nothing_that_it_does_not_use(tmp_path):
    texts, model = write_texts(tmp_path / "t.jsonl"), make_checkpoint(tmp_path / "model")
    code = f"""
import os, sys
os.environ["XDG_CACHE_HOME"] = {str(tmp_path / "cache")!r}
from jaxmap.cli import run
flags = ["--texts={texts}", "--models={model}"]
assert run(["score", f"--store={{sys.argv[1]}}", *flags]) == 0
print(sorted(set({UNUSED!r}) & set(sys.modules)))
"""
    first, second = (
        subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / name)], capture_output=True, text=True
        )
        for name in "ab"
    )
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert first.stdout.splitlines()[-1] == second.stdout.splitlines()[-1] == "[]"

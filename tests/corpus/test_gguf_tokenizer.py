"""Tokenizers made from the metadata of a GGUF file: the ids of the packages of their formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.awkward_texts import TEXTS as AWKWARD
from support.released_tokenizers import TEXTS, meta_pieces, sentencepiece_model

from jaxmap.corpus.gguf_tokenizer import differs, files
from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import TextTokenizer, load_tokenizer
from jaxmap.errors import InputError

USUAL = [text for text in (*TEXTS, *AWKWARD) if not set("<[") & set(text)]


def metadata(**changes: Any) -> dict[str, Any]:
    """As llama.cpp's converter writes a SentencePiece model of type BPE; kinds are its numbers."""
    pieces = meta_pieces()
    kinds = [2, 3, 3, *[6] * 256]
    facts = {
        "model": "llama",
        "tokens": pieces,
        "scores": [-float(rank) for rank in range(len(pieces))],
        "token_type": kinds + [1] * (len(pieces) - len(kinds)),
        "bos_token_id": 1,
        "eos_token_id": 2,
        "unknown_token_id": 0,
        **changes,
    }
    named = {f"tokenizer.ggml.{key}": value for key, value in facts.items() if value is not None}
    return {"general.architecture": "llama", **named}


def made(folder: Path, facts: dict[str, Any]) -> TextTokenizer:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    for name, content in files(facts, "m.gguf").items():
        (folder / name).write_bytes(content)
    return load_tokenizer(folder)


def ids_of(tokenizer: TextTokenizer, texts: list[str]) -> list[list[int]]:
    tokens = tokenizer.encode(TextSet(tuple(texts)))
    return [part.tolist() for part in np.split(tokens.ids, tokens.offsets[1:-1])]


@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_has_the_ids_of_the_package(prefix, tmp_path):
    from sentencepiece import SentencePieceProcessor

    tokenizer = made(tmp_path / "m", metadata(add_space_prefix=prefix))
    own = SentencePieceProcessor(model_proto=sentencepiece_model(meta_pieces(), prefix=prefix))
    want = own.encode(USUAL)
    assert len(USUAL) > 8
    assert ids_of(tokenizer, USUAL) == [[1, *ids] for ids in want]
    assert tokenizer.special_rule == "bos"
    other = SentencePieceProcessor(
        model_proto=sentencepiece_model(meta_pieces(), prefix=not prefix)
    )
    assert other.encode(USUAL) != want


def test_what_goes_around_a_text_is_what_the_switches_say(tmp_path):
    for number, (bos, eos, rule) in enumerate(
        [(None, None, "bos"), (True, True, "bos+eos"), (False, False, "none")]
    ):
        facts = metadata(add_bos_token=bos, add_eos_token=eos)
        found = made(tmp_path / str(number), facts)
        assert found.special_rule == rule
        [ids] = ids_of(found, ["the map"])
        assert (ids[0] == 1, ids[-1] == 2) == (bos is not False, bool(eos))


def test_tokens_of_the_users_own_are_found_in_a_text(tmp_path):
    facts = metadata()
    tokens = facts["tokenizer.ggml.tokens"] = [*facts["tokenizer.ggml.tokens"], "<|im_end|>", "<y>"]
    facts["tokenizer.ggml.scores"] += [0.0, 0.0]
    facts["tokenizer.ggml.token_type"] += [3, 4]
    found = made(tmp_path / "m", facts)
    [ids] = ids_of(found, ["the<|im_end|>map<y>"])
    assert {len(tokens) - 2, len(tokens) - 1} < set(ids)


def test_faults_of_a_vocabulary_are_told_in_one_line():
    for changes, words in [
        ({"tokens": None}, "tokens is missing"),
        ({"scores": [0.0]}, "1 tokenizer.ggml.scores for"),
        ({"eos_token_id": 10**6}, "there is no such token"),
        ({"model": "t5"}, "'t5' is not read"),
        ({"add_bos_token": 1}, "is of the type int"),
    ]:
        with pytest.raises(InputError, match=words) as caught:
            files(metadata(**changes), "m.gguf")
        assert str(caught.value).startswith("m.gguf: ")
        assert "\n" not in str(caught.value)


def test_another_vocabulary_is_told_by_its_first_token():
    facts = metadata()
    tokens = {token: n for n, token in enumerate(facts["tokenizer.ggml.tokens"])}
    assert differs(facts, tokens) == ""
    swapped = {**tokens, "▁the": tokens["<s>"], "<s>": tokens["▁the"]}
    assert "token 1 is '<s>'" in differs(facts, swapped)

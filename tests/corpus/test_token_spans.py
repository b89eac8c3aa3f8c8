"""Bytes of tokens: they tile each text, and decode to what the tokens say."""

from __future__ import annotations

import numpy as np
import pytest
from support.awkward_texts import TEXTS
from support.checkpoints import add_tokenizer

from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.token_spans import byte_spans
from jaxmap.corpus.tokens import load_tokenizer


def spans_of(tokenizer, texts, context=None):
    tokens = tokenizer.encode(texts, context)
    start_M, end_M = byte_spans(tokenizer, texts, tokens)
    assert len(start_M) == len(end_M) == tokens.num_scored.sum()
    offset = 0
    for n, count in enumerate(tokens.num_scored.tolist()):
        here = slice(offset, offset + count)
        ids = tokens.ids[tokens.offsets[n] : tokens.offsets[n + 1]][len(ids_before(tokens, n)) :]
        yield n, ids, start_M[here], end_M[here]
        offset += count


def ids_before(tokens, n):
    return range(tokens.first_scored[n])


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spans")
    add_tokenizer(folder)
    (folder / "config.json").write_text("{}")
    return load_tokenizer(folder)


def test_spans_tile_texts(tokenizer):
    texts = TextSet(tuple(TEXTS))
    partial = 0
    for n, ids, start_T, end_T in spans_of(tokenizer, texts):
        data = texts.texts[n].encode()
        if not len(ids):
            continue
        np.testing.assert_array_equal(start_T[1:], end_T[:-1])
        assert end_T[-1] == len(data)
        for i, piece, start, end in zip(
            ids, tokenizer.reading.pieces(ids.tolist()), start_T, end_T, strict=True
        ):
            if "\ufffd" in piece:
                partial += 1
            elif "\ufffd" not in (said := data[start:end].decode(errors="replace")):
                assert said == piece, (n, i)
    assert partial > 50


def test_of_a_pair_the_response(tokenizer):
    texts = TextSet(("world, again", " naïve", "x" * 30), prompts=("hello ", "so", ""))
    for n, _, start_T, end_T in spans_of(tokenizer, texts):
        data = texts.texts[n].encode()
        assert end_T[-1] == len(data)
        assert n == 2 or start_T[0] == 0


def test_cut_texts(tokenizer):
    texts = TextSet(("The quick brown fox jumps over the lazy dog.",))
    [(_, ids, start_T, end_T)] = spans_of(tokenizer, texts)
    [(_, cut, cut_start_T, cut_end_T)] = spans_of(tokenizer, texts, 4)
    assert len(cut) == 3 < len(ids)
    np.testing.assert_array_equal(cut_start_T, start_T[:3])
    np.testing.assert_array_equal(cut_end_T, end_T[:3])

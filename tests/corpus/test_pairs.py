"""Prompt and response: one text, whose response is scored from the border on."""

from __future__ import annotations

import hashlib
import itertools
import logging
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.checkpoints import NEOX, add_tokenizer, make_checkpoint, write_config
from support.released_tokenizers import RELEASED, WORDS

from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.token_cache import TokenisedTexts
from jaxmap.corpus.tokens import TextTokenizer, Tokens, load_tokenizer

# One of each kind: byte-level, digits, NFC, SentencePiece by both libraries, Metaspace, Gemma's.
KINDS = "gpt2 smollm2 qwen2 falcon llama2 mistral-v3 codeqwen gemma open-llama phi3 deepseek nemo"
PIECES = st.lists(
    st.sampled_from([*WORDS, " ", " ", "\n", "20", "23", "e\u0301", "🙂", "▁", "</s>", "\r\n"]),
    max_size=12,
).map("".join)


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory) -> dict[str, TextTokenizer]:
    root = tmp_path_factory.mktemp("kinds")
    by_name = {one.name: one for one in RELEASED}
    return {name: load_tokenizer(by_name[name].write(root / name)) for name in KINDS.split()}


def rows(tokens: Tokens) -> list[list[int]]:
    return [tokens.ids[a:b].tolist() for a, b in itertools.pairwise(tokens.offsets)]


def score(ids: list[int], first: int) -> float:
    """A made-up log p of ids from `first` on, each depending on all before it."""
    return math.fsum(
        -int.from_bytes(hashlib.sha256(repr(ids[: n + 1]).encode()).digest()[:4]) / 2**28
        for n in range(first, len(ids))
    )


@pytest.mark.parametrize("kind", KINDS.split())
def test_the_whole_is_the_prompt_and_the_response_given_it(tokenizers, kind):
    tokenizer = tokenizers[kind]
    counts = {True: 0, False: 0}

    @settings(deadline=None, max_examples=150)
    @given(PIECES, PIECES)
    @example("the begi", "ns with")
    @example("the", " of")
    def compare(prompt, response):
        pair = tokenizer.encode(TextSet((response,), (prompt,)))
        plain = tokenizer.encode(TextSet((prompt + response, prompt)))
        [given_], [whole, before] = rows(pair), rows(plain)
        starts = whole[: len(before)] == before
        counts[starts] += 1
        assert bool(pair.apart[0]) == (not starts)
        first = int(pair.first_scored[0])
        assert first == min(max(1, len(before)), len(given_))
        assert given_[: len(before)] == before
        if starts:
            assert given_ == whole
            alone = score(before, 1)
            assert score(whole, 1) == pytest.approx(alone + score(given_, first), abs=1e-6)

    compare()
    assert min(counts.values()) > 0


def test_a_response_apart_goes_on_where_the_prompt_stopped(tokenizers):
    """No space of the tokenizer's own is put between them."""
    for name in ("llama2", "mistral-v3", "open-llama", "phi3"):
        tokenizer = tokenizers[name]
        tokens = tokenizer.encode(TextSet(("ere",), ("wh",)))  # "where" has a token "here"
        [whole] = rows(tokenizer.encode(TextSet(("where",))))
        [apart] = rows(tokens)
        of = {number: piece for piece, number in tokenizer._reading.vocabulary().items()}
        if tokens.apart[0]:
            assert apart != whole
        assert "".join(of[n] for n in apart[len(tokenizer.prefix) :]) == "▁where"
    # After a space a word has its own token, as in the whole.
    tokens = tokenizers["llama2"].encode(TextSet((" text begins",), ("This",)))
    [whole] = rows(tokenizers["llama2"].encode(TextSet(("This text begins",))))
    assert rows(tokens) == [whole]
    assert not tokens.apart.any()


def test_pairs_are_named_in_what_a_result_says(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    write_config(folder, NEOX)
    add_tokenizer(folder)
    plain, pairs = (
        TokenisedTexts(TextSet(("ly", " b"), prompts), tmp_path / "tokens").read_by(folder, None)
        for prompts in (None, ("new", "a"))
    )
    assert plain.special_rule == "none"
    assert pairs.special_rule == "none, prompt and response as one text"
    assert plain.fingerprint == pairs.fingerprint
    again = TokenisedTexts(TextSet(("ly", " b"), ("new", "a")), tmp_path / "tokens")
    np.testing.assert_array_equal(again.read_by(folder, None).tokens.apart, pairs.tokens.apart)


def test_how_many_are_apart_is_recorded_and_said(tmp_path, caplog):
    from jaxmap.cli import run
    from jaxmap.store import Store

    model = make_checkpoint(tmp_path / "model")
    tokenizer = load_tokenizer(model)
    texts = tmp_path / "pairs.jsonl"
    parts = [("The qui", "ck brown fox"), ("The", " quick"), ("", "The")]
    lines = [f'{{"prompt": "{p}", "response": "{r}"}}\n' for p, r in parts]
    texts.write_text("".join(lines))
    prompts, responses = zip(*parts, strict=True)
    apart = int(tokenizer.encode(TextSet(responses, prompts)).apart.sum())
    assert apart == 1
    with caplog.at_level(logging.INFO):
        assert (
            run(["score", f"--store={tmp_path / 's'}", f"--texts={texts}", f"--models={model}"])
            == 0
        )
    [entry] = Store.open(tmp_path / "s").records()
    assert entry.provenance.apart == 1
    assert "1 of 3 responses are tokenised separately" in caplog.text

"""SentencePiece, tekken and tiktoken files: the same ids as the formats' own packages give."""

from __future__ import annotations

import base64
import json
import struct
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.awkward_texts import TEXTS as AWKWARD_TEXTS
from support.released_tokenizers import (
    LLAMA3,
    QWEN2,
    SPM,
    TEKKEN,
    TEXTS,
    WORDS,
    meta_pieces,
    sentencepiece_model,
    token,
)

from jaxmap.corpus.texts import TextSet
from jaxmap.corpus.tokens import TextTokenizer, load_tokenizer, restore
from jaxmap.errors import InputError

KIMI = "|".join(
    [
        r"[\p{Han}]+",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]+"
        r"[\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
)
AWKWARD = (*TEXTS, *AWKWARD_TEXTS, "aaaa aaaaaaa", "Don'T ſ'S")
PLAIN = st.text(
    st.one_of(
        st.sampled_from(list(" \n\r\t0123'aeinotTHS.,▁東京é🙂\u0301\u200f\u05e9\x00")),
        st.characters(exclude_categories=["Cs"]),
    ),
    max_size=40,
).filter(lambda text: not set("<[") & set(text))  # no special token spelt out


def ids_of(tokenizer: TextTokenizer, *texts: str) -> list[list[int]]:
    """Without what goes around a text."""
    tokens = tokenizer.encode(TextSet(texts))
    parts = [part.tolist() for part in np.split(tokens.ids, tokens.offsets[1:-1])]
    start, stop = len(tokenizer.prefix), len(tokenizer.suffix)
    return [part[start : len(part) - stop] for part in parts]


def byte_words() -> list[bytes]:
    """256 bytes and the beginnings of words, some of which no merge of two others reaches."""
    words = [bytes([byte]) for byte in range(256)]
    for word in (" " + word for word in (*WORDS, "aa", "aaa", "New York", "東京")):
        data = word.encode()
        for end in range(2, len(data) + 1):
            for piece in (data[:end], data[1:end]):
                if len(piece) > 1 and piece not in words and len(piece) % 5 != 3:
                    words.append(piece)
    return words


def tekken(folder: Path, **settings: object) -> Path:
    words = byte_words()
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    vocabulary = [
        {"rank": n, "token_bytes": base64.b64encode(word).decode(), "token_str": None}
        for n, word in enumerate(words)
    ]
    config = {"pattern": TEKKEN, "default_num_special_tokens": 10} | settings
    config.setdefault("default_vocab_size", len(words) + 10)
    listed = [{"rank": n, "token_str": s, "is_control": True} for n, s in enumerate(special)]
    content = {"config": config, "vocab": vocabulary, "special_tokens": listed}
    folder.mkdir(exist_ok=True)
    (folder / "tekken.json").write_text(json.dumps(content))
    (folder / "config.json").write_text('{"model_type": "mistral"}')
    return folder


def ranks(folder: Path, name: str, **tokenizer_config: object) -> Path:
    folder.mkdir(exist_ok=True)
    lines = [base64.b64encode(word) + f" {rank}".encode() for rank, word in enumerate(byte_words())]
    (folder / name).write_bytes(b"\n".join(lines) + b"\n")
    (folder / "config.json").write_text('{"model_type": "deepseek_v3"}')
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer_config))
    return folder


def encoding(pattern: str, special: dict[str, int] | None = None):
    from tiktoken import Encoding

    ranked = {word: rank for rank, word in enumerate(byte_words())}
    return Encoding("test", pat_str=pattern, mergeable_ranks=ranked, special_tokens=special or {})


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


def test_tekken_has_the_ids_of_its_own_package(root):
    """mistral-common: tiktoken's ids after the special tokens, and BOS first."""
    tokenizer, own = load_tokenizer(tekken(root / "tekken")), encoding(TEKKEN)

    @settings(deadline=None, max_examples=200)
    @given(PLAIN)
    def compare(text):
        assert ids_of(tokenizer, text) == [[10 + n for n in own.encode_ordinary(text)]]

    compare()
    assert tokenizer.special_rule == "bos"
    assert tokenizer.prefix == (1,)
    assert ids_of(tokenizer, "[INST]a</s>") == [[3, 10 + ord("a"), 2]]
    assert tokenizer.size == len(byte_words()) + 10


def test_tekken_drops_words_beyond_its_vocabulary(root):
    whole = load_tokenizer(tekken(root / "whole"))
    cut = load_tokenizer(tekken(root / "cut", default_vocab_size=266))
    assert cut.size == 266 < whole.size
    assert ids_of(cut, "the")[0] == [10 + byte for byte in b"the"] != ids_of(whole, "the")[0]


@pytest.mark.parametrize(
    ("name", "settings_", "pattern"),
    [
        ("tiktoken.model", {}, LLAMA3),
        ("tokenizer.model", {}, LLAMA3),
        ("tiktoken.model", {"tokenizer_class": "TikTokenTokenizer"}, KIMI),
        ("qwen.tiktoken", {"tokenizer_class": "QWenTokenizer"}, QWEN2),
    ],
    ids=["tiktoken", "tokenizer.model", "kimi", "qwen"],
)
def test_tiktoken_files_have_the_ids_of_tiktoken(root, request, name, settings_, pattern):
    code = {"auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}} if settings_ else {}
    folder = ranks(root / request.node.callspec.id, name, **settings_, **code)
    tokenizer, own = load_tokenizer(folder), encoding(pattern)
    nfc = pattern == QWEN2

    @settings(deadline=None, max_examples=200)
    @given(PLAIN)
    def compare(text):
        want = own.encode_ordinary(unicodedata.normalize("NFC", text) if nfc else text)
        assert ids_of(tokenizer, text) == [want]

    compare()
    for text in (text for text in AWKWARD if "<" not in text):
        want = own.encode_ordinary(unicodedata.normalize("NFC", text) if nfc else text)
        assert ids_of(tokenizer, text) == [want]


def test_qwens_own_special_tokens_follow_its_words(root):
    folder = ranks(root / "q", "qwen.tiktoken", tokenizer_class="QWenTokenizer")
    tokenizer, first = load_tokenizer(folder), len(byte_words())
    assert ids_of(tokenizer, "<|endoftext|><|im_end|><|extra_204|>") == [
        [first, first + 2, first + 207]
    ]
    assert tokenizer.special_rule == "none"


def test_added_tokens_of_a_tiktoken_file_have_their_own_ids(root):
    first = len(byte_words())
    given = {str(first + 7): {"content": "[BOS]", "special": True}}
    folder = ranks(
        root / "k",
        "tiktoken.model",
        tokenizer_class="TikTokenTokenizer",
        added_tokens_decoder=given,
    )
    assert ids_of(load_tokenizer(folder), "[BOS]a") == [[first + 7, ord("a")]]


def spm(folder: Path, prefix: bool = True, user: tuple[str, ...] = (), **config: object) -> Path:
    folder.mkdir(exist_ok=True)
    content = sentencepiece_model(meta_pieces(), prefix=prefix, user=user)
    (folder / "tokenizer.model").write_bytes(content)
    facts = {"tokenizer_class": "LlamaTokenizer", **SPM, **config}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts))
    return folder


@pytest.mark.parametrize("prefix", [True, False])
@pytest.mark.parametrize("legacy", [True, False])
def test_a_sentencepiece_model_has_the_ids_of_sentencepiece(root, prefix, legacy):
    from sentencepiece import SentencePieceProcessor

    folder = spm(root / f"spm{prefix}{legacy}", prefix, legacy=legacy)
    tokenizer = load_tokenizer(folder)
    own = SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))

    @settings(deadline=None, max_examples=200)
    @given(PLAIN)
    def compare(text):
        assert ids_of(tokenizer, text) == [own.encode(text)]

    compare()
    texts = [text for text in AWKWARD if "<" not in text]
    assert ids_of(tokenizer, *texts) == own.encode(texts)
    assert (tokenizer.special_rule, tokenizer.prefix) == ("bos", (1,))
    again = restore(tokenizer.kept, tokenizer.special_rule, tokenizer.source)
    assert again == tokenizer
    assert ids_of(again, *AWKWARD) == ids_of(tokenizer, *AWKWARD)


def test_special_tokens_in_a_text_that_sentencepiece_reads(root):
    """After one of them a space is put only by `legacy`, as in LlamaTokenizer (slow)."""
    old = load_tokenizer(spm(root / "old"))
    new = load_tokenizer(spm(root / "new", legacy=False))
    [word] = ids_of(old, "the")
    assert word == ids_of(new, "the")[0]
    assert ids_of(old, "</s>the") == [[2, *word]]
    [[end, *bare]] = ids_of(new, "</s>the")
    assert end == 2
    assert bare != word
    never = load_tokenizer(spm(root / "never", add_prefix_space=False))
    assert ids_of(never, "the") == [bare]
    strips = token("</s>", rstrip=True, lstrip=True)
    stripped = load_tokenizer(spm(root / "strips", eos_token=strips))
    assert ids_of(stripped, "the \n</s> \t the") == ids_of(stripped, "the</s>the")
    assert ids_of(old, "the </s> the") != ids_of(old, "the</s>the")
    split = load_tokenizer(spm(root / "split", split_special_tokens=True))
    assert 2 not in ids_of(split, "</s>the")[0]


def test_switches_and_new_tokens_beside_a_sentencepiece_model(root):
    pieces = len(meta_pieces())
    folder = spm(root / "switched", add_bos_token=False, add_eos_token=True, pad_token="[PAD]")
    (folder / "added_tokens.json").write_text(json.dumps({"[INST]": pieces + 3}))
    tokenizer = load_tokenizer(folder)
    assert (tokenizer.prefix, tokenizer.suffix, tokenizer.special_rule) == ((), (2,), "eos")
    assert ids_of(tokenizer, "[INST][PAD]") == [[pieces + 3, pieces + 4]]
    assert tokenizer.size == pieces + 5
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "LlamaTokenizer", "bos_token": None})
    )
    with pytest.raises(InputError, match="add_bos_token is true, and bos_token is None"):
        load_tokenizer(folder)


@pytest.mark.parametrize("name", ["BaichuanTokenizer", "InternLM2Tokenizer"])
def test_known_code_of_checkpoints_is_not_needed(root, name):
    code = {"auto_map": {"AutoTokenizer": [f"own.{name}", None]}}
    own = load_tokenizer(spm(root / name, tokenizer_class=name, **code))
    llama = load_tokenizer(spm(root / f"{name}-llama"))
    assert ids_of(own, *AWKWARD) == ids_of(llama, *AWKWARD)
    assert own.fingerprint == llama.fingerprint


def test_a_missing_package_is_named(root, monkeypatch):
    folder = spm(root / "needs")
    monkeypatch.setitem(sys.modules, "sentencepiece", None)
    with pytest.raises(InputError, match="needs the sentencepiece package: pip install sent"):
        load_tokenizer(folder)


@pytest.mark.parametrize("content", [b"", b"neither one nor the other", b"\xff" * 40])
def test_a_broken_model_is_one_line(root, content):
    folder = spm(root / f"broken{len(content)}")
    (folder / "tokenizer.model").write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_tokenizer(folder)
    assert "tokenizer.model" in str(caught.value)
    assert "\n" not in str(caught.value)
    tekken(folder)
    (folder / "tekken.json").write_bytes(b'{"config": {}}')
    with pytest.raises(InputError, match="not a tekken vocabulary"):
        load_tokenizer(folder)


def xglm(folder: Path) -> list[str]:
    """A SentencePiece model whose ids XGLM's class moves by one; returns its pieces."""
    folder.mkdir()
    pieces = ["<unk>", "<s>", "</s>", "▁", "▁the", "▁a", "t", "h", "e", "a", "▁t", "he"]
    content = b""
    for rank, piece in enumerate(pieces):
        text = piece.encode()
        kind = 2 if rank == 0 else 3 if rank < 3 else 1
        one = b"\x0a" + bytes([len(text)]) + text
        one += b"\x15" + struct.pack("<f", -float(rank)) + b"\x18" + bytes([kind])
        content += b"\x0a" + bytes([len(one)]) + one
    (folder / "sentencepiece.bpe.model").write_bytes(content + b"\x12\x02\x18\x01")  # unigram
    (folder / "config.json").write_text('{"model_type": "xglm"}')
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "XGLMTokenizer"}')
    return pieces


def test_xglms_ids_are_the_models_one_further_on(root):
    """As XGLMTokenizerFast of transformers 4.57.6 gives them: "the a" is 2, 5, 6."""
    from sentencepiece import SentencePieceProcessor

    xglm(root / "xglm")
    own = SentencePieceProcessor(model_file=str(root / "xglm/sentencepiece.bpe.model"))
    tokenizer = load_tokenizer(root / "xglm")
    assert (tokenizer.prefix, tokenizer.special_rule) == ((2,), "eos")
    assert ids_of(tokenizer, "the a") == [[5, 6]]
    texts = [*AWKWARD_TEXTS, "tea", "eat x", "  a  the "]
    want = [[n + 1 if n else 3 for n in own.encode(text)] for text in texts]
    assert ids_of(tokenizer, *texts) == want
    assert ids_of(tokenizer, "</s>a<pad>")[0][0] == 2
    assert restore(tokenizer.kept, tokenizer.special_rule, tokenizer.source) == tokenizer


def test_classes_with_other_ids_are_refused(root):
    folder = spm(root / "t5", tokenizer_class="T5Tokenizer")
    with pytest.raises(InputError, match="T5Tokenizer has other ids than the model's pieces"):
        load_tokenizer(folder)


@pytest.mark.parametrize("prefix", [False, True])
def test_bytes_of_the_tokens_of_a_sentencepiece_model(root, prefix):
    """They tile each text, whatever stands before it and whatever the model normalises."""
    from jaxmap.corpus.token_spans import byte_spans

    tokenizer = load_tokenizer(spm(root / f"spans-{prefix}", prefix=prefix))
    texts = TextSet(tuple(f"a{text}" for text in AWKWARD_TEXTS))
    tokens = tokenizer.encode(texts)
    start_M, end_M = byte_spans(tokenizer, texts, tokens)
    assert len(start_M) == tokens.num_scored.sum()
    offset = 0
    for text, count in zip(texts.texts, tokens.num_scored.tolist(), strict=True):
        here = slice(offset, offset + count)
        np.testing.assert_array_equal(start_M[here][1:], end_M[here][:-1])
        assert (end_M[here] <= len(text.encode())).all()
        offset += count
    text = TextSet(("The New York\nday",))
    first, last = byte_spans(tokenizer, text, tokenizer.encode(text))
    said = [text.texts[0][a:b] for a, b in zip(first, last, strict=True)]
    assert "".join(said) == text.texts[0][first[0] :]

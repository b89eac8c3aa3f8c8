"""The words into which tokenizer.ggml.pre cuts a text, found by hand from llama.cpp's rules."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.awkward_texts import TEXTS as AWKWARD
from support.released_tokenizers import TEXTS
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from jaxmap.corpus.gguf_pre_tokenizers import WORDS
from jaxmap.corpus.gguf_tokenizer import files
from jaxmap.errors import InputError

TEXT = "Don't 1234 AbC\n\n  x!\n"
# Words with a stroke between them.
EXPECTED = {
    "gpt-2": "Don|'t| 1234| AbC|\n\n | x|!|\n",
    "exaone4": "Don|'t| 1234| AbC|\n\n | x|!|\n",
    "exaone": "Don|'t| |1|2|3|4| AbC|\n\n | x|!|\n",
    "codeshell": "Don|'t| |1|2|3|4| AbC|\n\n | x|!|\n",
    "llama-bpe": "Don|'t| |123|4| AbC|\n\n| | x|!\n",
    "falcon3": "Don|'t| |123|4| AbC|\n\n| | x|!\n",
    "jais-2": "Don|'t| |123|4| AbC|\n\n| | x|!\n",
    "qwen2": "Don|'t| |1|2|3|4| AbC|\n\n| | x|!\n",
    "qwen35": "Don|'t| |1|2|3|4| AbC|\n\n| | x|!\n",
    "grok-2": "Don|'t| |1|2|3|4| AbC|\n\n| | x|!\n",
    "seed-coder": "Don|'t| |1|2|3|4| AbC|\n\n| | x|!|\n",
    "bailingmoe": "Don|'t| |1|2|3|4| AbC|\n\n| | x|!\n",
    "gpt-4o": "Don't| |123|4| Ab|C|\n\n| | x|!\n",
    "llama4": "Don't| |123|4| Ab|C|\n\n| | x|!\n",
    "tekken": "Don|'t| |1|2|3|4| Ab|C|\n\n| | x|!\n",
    "youtu": "Don't| |1|2|3|4| Ab|C|\n\n| | x|!\n",
    "tiny_aya": "Don't| |1|234| Ab|C|\n\n| | x|!\n",
    "kimi-k2": "Don't| |123|4| Ab|C|\n\n| | x|!\n",
    "deepseek-llm": "Don|'|t| |1234| AbC|\n|\n| | x|!|\n",
    "deepseek-coder": "Don|'|t| |1|2|3|4| AbC|\n|\n| | x|!|\n",
    "deepseek-v3": "Don|'t| |123|4| AbC|\n\n| | x|!\n",
    "hunyuan-dense": "Don|'t| |123|4| AbC|\n\n| | x|!\n",
    "poro-chat": "Don't| 1234| AbC|\n\n | x|!\n",
    "viking": "Don't| |1|2|3|4| AbC|\n\n | x|!\n",
}
OTHERS = {  # of what the first text does not show
    ("kimi-k2", "东京ab12"): "东京|ab|12",
    ("gpt-4o", "东京ab12"): "东京ab|12",
    ("youtu", "东京ab12"): "东京|ab|1|2",
    ("qwen35", "e\u0301!"): "e\u0301|!",
    ("qwen2", "e\u0301!"): "e|\u0301!",
    ("jais-2", "x" + 7 * " " + "y"): "x|    |  | y",
    ("deepseek-llm", "中文ab"): "中文|ab",
    ("deepseek-llm", "\u1f7d\u212a\u2126б۱"): "\u1f7d\u212a\u2126|б|۱",
}


def pre_tokenizer(name: str) -> Any:
    tokenizer = Tokenizer(BPE())
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": WORDS[name].of_gpt2}  # fmt: skip
    state = json.loads(tokenizer.to_str())
    state["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": WORDS[name].around(level)}
    return Tokenizer.from_str(json.dumps(state)).pre_tokenizer


def words(name: str, text: str) -> list[str]:
    return [text[start:end] for _, (start, end) in pre_tokenizer(name).pre_tokenize_str(text)]


def as_bytes(text: str) -> str:
    found = ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
    return "".join(one for one, _ in found)


@pytest.mark.parametrize("name", EXPECTED)
def test_words_are_those_of_the_rule(name):
    assert words(name, TEXT) == EXPECTED[name].split("|")


@pytest.mark.parametrize(("name", "text"), OTHERS)
def test_words_of_other_texts(name, text):
    assert words(name, text) == OTHERS[name, text].split("|")


@pytest.mark.parametrize("name", WORDS)
def test_nothing_of_a_text_is_lost(name):
    """Offsets say nothing of the parts of a character, by which Falcon cuts: bytes do."""
    cut = pre_tokenizer(name)
    for text in (*TEXTS, *AWKWARD):
        assert "".join(one for one, _ in cut.pre_tokenize_str(text)) == as_bytes(text)


def test_a_rule_that_is_not_known_is_refused_with_what_to_do():
    alphabet = sorted(ByteLevel.alphabet())
    facts = {"model": "gpt2", "pre": "superbpe", "tokens": alphabet, "merges": ["a b"]}
    named = {f"tokenizer.ggml.{key}": value for key, value in facts.items()}
    with pytest.raises(InputError, match=r"pre 'superbpe' is not known; put the tokenizer files"):
        files({"general.architecture": "llama", **named}, "m.gguf")

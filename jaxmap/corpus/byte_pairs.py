"""Byte-pair vocabularies without tokenizer.json: tekken, tiktoken, vocab.json with merges.txt.

Each becomes a pipeline of the tokenizers library. A tiktoken vocabulary ranks byte strings and has
no list of merges. The same ids result from these merges: every split of a token into two other
tokens, in the order of the token's rank.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxmap.corpus.pipeline_components import template
from jaxmap.corpus.tokenizer_classes import FastClass
from jaxmap.corpus.tokenizer_files import one_line, read_json
from jaxmap.errors import InputError

# Patterns that split a text before the merges. QWEN2 is also Qwen's (tokenization_qwen.py), LLAMA3
# the default of transformers' TikTokenConverter, KIMI that of tokenization_kimi.py (Moonlight,
# Kimi-K2).
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_UPPER, _LOWER = (
    r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]",
    r"\p{Ll}\p{Lm}\p{Lo}\p{M}&&[^\p{Han}]",
)
_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_KIMI = (
    r"[\p{Han}]+"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_ENDINGS}"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_ENDINGS}"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Special tokens for early tekken.json files, which do not list them (from mistral-common).
_OLD_TEKKEN = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] "
    "[/TOOL_RESULTS] [TOOL_CALLS] [IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] "
    "[SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]"
).split()
_QWEN_SPECIAL = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    *(f"<|extra_{n}|>" for n in range(205)),
)


def read_tekken(path: Path) -> tuple[Any, dict[str, str]]:
    """Mistral's tekken.json as a tokenizers.Tokenizer, and the roles of its special tokens.

    The first default_num_special_tokens ids are special tokens; byte strings have the other ids, up
    to default_vocab_size. BOS is put before a text, as in Mistral's own package.
    """
    facts = read_json(path) or {}
    try:
        settings = facts["config"]
        listed = facts.get("special_tokens")
        if listed is None:
            special = {content: rank for rank, content in enumerate(_OLD_TEKKEN)}
        else:
            special = {one["token_str"]: int(one["rank"]) for one in listed}
        count = int(settings.get("default_num_special_tokens") or len(special))
        size = settings.get("default_vocab_size")
        entries = sorted(facts["vocab"], key=lambda one: one["rank"])
        words = [base64.b64decode(one["token_bytes"]) for one in entries]
        words = words if size is None else words[: int(size) - count]
        pattern = settings["pattern"]
        ranks = {word: rank + count for rank, word in enumerate(words)}
        backend = _of_ranks(ranks, pattern, special)
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error) as error:
        raise InputError(f"{path}: not a tekken vocabulary ({one_line(error)})") from error
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    roles = {role: token for role, token in roles.items() if token in special}
    if "bos_token" in roles:
        backend.post_processor = template([("<s>", special["<s>"])], [])
    return backend, roles


def read_tiktoken(path: Path, tokenizer_config: Mapping[str, Any]) -> Any:
    """A tiktoken file, whose lines are base64 and rank, as a tokenizers.Tokenizer.

    The pattern is that of the class in tokenizer_config.json: QWenTokenizer, TikTokenTokenizer
    (Kimi), else Llama 3's.
    """
    from tokenizers import normalizers

    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            word, rank = line.split()
            ranks[base64.b64decode(word, validate=True)] = int(rank)
        except (ValueError, binascii.Error) as error:
            raise InputError(
                f"{path}, line {number}: neither a SentencePiece model nor tiktoken's base64 and "
                "rank; is the file whole?"
            ) from error
    if not ranks:
        raise InputError(f"{path}: empty; is the file whole?")
    name = str(tokenizer_config.get("tokenizer_class")).removesuffix("Fast")
    if name == "QWenTokenizer":
        special = {content: len(ranks) + n for n, content in enumerate(_QWEN_SPECIAL)}
        backend = _of_ranks(ranks, _QWEN2, special)
        backend.normalizer = normalizers.NFC()
        return backend
    given = tokenizer_config.get("added_tokens_decoder") or {}
    special = {}
    for index, one in given.items() if isinstance(given, Mapping) else ():
        content = one.get("content") if isinstance(one, Mapping) else one
        if str(index).isdigit() and isinstance(content, str):
            special[content] = int(index)
    return _of_ranks(ranks, _KIMI if name == "TikTokenTokenizer" else _LLAMA3, special)


def read_merges(folder: Path, kind: FastClass, tokenizer_config: Mapping[str, Any]) -> Any:
    """vocab.json and merges.txt as a tokenizers.Tokenizer, in the way of GPT-2 or Qwen2."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

    path = folder / "merges.txt"
    try:
        lines = path.read_text("utf-8").split("\n")
        # GPT-2's own code always drops the first line, and what follows the last line break.
        lines = lines[1:-1] if kind.merges == "gpt2" or lines[0].startswith("#version") else lines
        pairs = (line.split() for line in lines if line.strip())
        merges = [(first, second) for first, second in pairs]
        model = models.BPE(vocab=read_json(folder / "vocab.json"), merges=merges, fuse_unk=False)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise InputError(f"{path}: not merges of vocab.json ({one_line(error)})") from error
    backend = Tokenizer(model)
    backend.decoder = decoders.ByteLevel()
    prefix = tokenizer_config.get("add_prefix_space") is True
    if kind.merges == "qwen2":
        backend.normalizer = normalizers.NFC()
        backend.pre_tokenizer = _cut(_QWEN2, prefix)
        return backend
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    if tokenizer_config.get("add_bos_token"):
        bos = tokenizer_config.get("bos_token", kind.defaults.get("bos_token"))
        bos = bos.get("content") if isinstance(bos, Mapping) else bos
        number = backend.token_to_id(bos) if isinstance(bos, str) else None
        if not isinstance(bos, str) or number is None:
            raise InputError(
                f"{folder / 'tokenizer_config.json'}: add_bos_token is true, and bos_token is "
                f"{bos!r}, which has no id; name a token of vocab.json"
            )
        backend.post_processor = template([(bos, number)], [])
    return backend


def _of_ranks(ranks: Mapping[bytes, int], pattern: str, special: Mapping[str, int]) -> Any:
    """A tokenizers.Tokenizer with the ids of tiktoken's Encoding of the same ranks."""
    from tokenizers import AddedToken, Tokenizer, decoders, models

    letters = _letters()
    shown = {word: "".join(letters[byte] for byte in word) for word in ranks}
    merges = []
    for word, rank in ranks.items():
        cuts = ((word[:n], word[n:]) for n in range(1, len(word)))
        there = [(ranks[a], ranks[b], a, b) for a, b in cuts if a in ranks and b in ranks]
        merges += [(rank, *cut) for cut in there]
    merges.sort(key=lambda merge: merge[:3])
    backend = Tokenizer(
        models.BPE(
            vocab={shown[word]: rank for word, rank in ranks.items()} | dict(special),
            merges=[(shown[a], shown[b]) for _, _, _, a, b in merges],
            fuse_unk=False,
            ignore_merges=True,
        )
    )
    backend.pre_tokenizer = _cut(pattern, False)
    backend.decoder = decoders.ByteLevel()
    in_order: Iterable[str] = sorted(special, key=lambda content: special[content])
    backend.add_special_tokens([AddedToken(one, special=True) for one in in_order])
    return backend


def _cut(pattern: str, prefix: bool) -> Any:
    from tokenizers import Regex, pre_tokenizers

    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False),
        ]
    )


def _letters() -> list[str]:
    """The character for each byte in a byte-level vocabulary, as in GPT-2.

    Printable bytes stand for themselves, the others for characters from U+0100 on.
    """
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printed else chr(next(others)) for byte in range(256)]

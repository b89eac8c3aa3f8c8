"""Tokenizer files from the metadata of a GGUF, which holds tokens, merges or scores, and switches.

Byte-level BPE ("gpt2") becomes a tokenizer.json, whose way to cut a text into words is named by
tokenizer.ggml.pre; SentencePiece ("llama", also Gemma's) a tokenizer.model of the same pieces.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jaxmap.corpus.gguf_pre_tokenizers import BY_ARCHITECTURE, WORDS, Words
from jaxmap.corpus.pipeline_components import template
from jaxmap.corpus.sentencepiece_vocabulary import processor
from jaxmap.corpus.tokenizer_files import one_line
from jaxmap.errors import InputError

_KEY = "tokenizer.ggml."
_NORMAL, _UNKNOWN, _CONTROL, _USER_DEFINED, _UNUSED, _BYTE = range(1, 7)
# If this comes back whole, bytes, spaces and merges are where they belong.
PROBE = "The map, 12.5% of it:\n\tdéjà vu — 東京 🙂  don't  x"
_ROLES = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}


@dataclass(frozen=True)
class _Vocabulary:
    """What the metadata hold, checked.

    Fields:
      where: the file, for messages.
      model, pre, architecture: the kind of tokenizer, of words, of the model.
      tokens, kinds: the tokens, and what each is.
      merges, scores: of BPE and of SentencePiece.
      roles: role -> token.
      add_bos, add_eos, add_prefix: switches; None where they are not given.
    """

    where: str
    model: str
    pre: str
    architecture: str
    tokens: list[str]
    kinds: list[int]
    merges: list[str]
    scores: list[float]
    roles: dict[str, int]
    add_bos: bool | None
    add_eos: bool | None
    add_prefix: bool | None


def files(metadata: Mapping[str, Any], where: str) -> dict[str, bytes]:
    """Name -> content of the tokenizer files that the metadata stand for.

    where: the file, for messages. Raises InputError for kinds of tokenizers that are not made here,
    damaged metadata, and a tokenizer that does not give a text back.
    """
    v = _read(metadata, where)
    if v.model == "gpt2":
        made = _byte_level(v)
    elif v.model == "llama":
        made = _sentencepiece(v)
    else:
        raise InputError(
            f"{where}: {_KEY}model {v.model!r} is not read; put the tokenizer files of the base "
            "model beside the file"
        )
    return made


def differs(metadata: Mapping[str, Any], vocabulary: Mapping[str, int]) -> str:
    """Why a tokenizer, by its tokens and their ids, is not the file's; "" where it is."""
    tokens, kinds = metadata.get(_KEY + "tokens"), metadata.get(_KEY + "token_type")
    if not isinstance(tokens, list):
        return ""  # the file has none to compare with
    kinds = kinds if isinstance(kinds, list) else [_NORMAL] * len(tokens)
    for number, (token, kind) in enumerate(zip(tokens, kinds, strict=False)):
        if vocabulary.get(token) != number and kind != _UNUSED:
            return (
                f"token {number} is {token!r} in the file, which is {vocabulary.get(token)} there"
            )
    return ""


def _read(metadata: Mapping[str, Any], where: str) -> _Vocabulary:
    def get(key: str, kind: type, default: Any) -> Any:
        value = metadata.get(_KEY + key, default)
        if value is not default and not isinstance(value, kind):
            raise InputError(f"{where}: {_KEY}{key} is of the type {type(value).__name__}")
        return value

    tokens = get("tokens", list, [])
    if not tokens:
        raise InputError(f"{where}: {_KEY}tokens is missing; put tokenizer files beside the file")
    kinds = get("token_type", list, [_NORMAL] * len(tokens))
    scores = get("scores", list, [0.0] * len(tokens))
    for name, values in (("token_type", kinds), ("scores", scores)):
        if len(values) != len(tokens):
            raise InputError(f"{where}: {len(values)} {_KEY}{name} for {len(tokens)} tokens")
    roles = {role: get(key, int, None) for role, key in _ROLES.items()}
    found = {role: number for role, number in roles.items() if number is not None}
    if bad := next((r for r, number in found.items() if not 0 <= number < len(tokens)), None):
        raise InputError(f"{where}: {_KEY}{_ROLES[bad]} = {found[bad]}: there is no such token")
    return _Vocabulary(
        where,
        get("model", str, ""),
        get("pre", str, ""),
        str(metadata.get("general.architecture", "")),
        tokens,
        kinds,
        get("merges", list, []),
        scores,
        found,
        get("add_bos_token", bool, None),
        get("add_eos_token", bool, None),
        get("add_space_prefix", bool, None),
    )


def _byte_level(v: _Vocabulary) -> dict[str, bytes]:
    from tokenizers import Tokenizer

    words = _words(v)
    if not v.merges:
        raise InputError(f"{v.where}: {_KEY}merges is missing")
    added = [
        {"id": number, "content": v.tokens[number], "single_word": False, "lstrip": False,
         "rstrip": False, "normalized": False, "special": kind == _CONTROL}
        for number, kind in enumerate(v.kinds) if kind in (_CONTROL, _USER_DEFINED)
    ]  # fmt: skip
    before = _named(v, "bos_token", words.bos if v.add_bos is None else v.add_bos)
    after = _named(v, "eos_token", bool(v.add_eos))
    level = {"type": "ByteLevel", "add_prefix_space": bool(v.add_prefix), "trim_offsets": True,
             "use_regex": words.of_gpt2}  # fmt: skip
    state = {
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "NFC"} if words.nfc else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": words.around(level)},
        "post_processor": None,
        "decoder": {**level, "use_regex": True},
        "model": {
            "type": "BPE",
            "ignore_merges": words.ignore_merges,
            "vocab": {token: number for number, token in enumerate(v.tokens)},
            "merges": [merge.split(" ", 1) for merge in v.merges],
        },
    }
    try:
        backend: Any = Tokenizer.from_str(json.dumps(state))
    except Exception as error:  # the library raises bare Exceptions
        raise InputError(
            f"{v.where}: its tokens and merges make no tokenizer ({one_line(error)})"
        ) from error
    _probe(v, backend.decode(backend.encode(PROBE).ids, skip_special_tokens=False))
    if before or after:
        backend.post_processor = template(before, after)
    named = {role: v.tokens[number] for role, number in v.roles.items()}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", **named}
    return {
        "tokenizer.json": backend.to_str().encode(),
        "tokenizer_config.json": json.dumps(settings).encode(),
    }


def _words(v: _Vocabulary) -> Words:
    pre = v.pre if v.pre not in ("", "default") else BY_ARCHITECTURE.get(v.architecture, v.pre)
    if pre not in WORDS:
        raise InputError(
            f"{v.where}: {_KEY}pre {v.pre!r} is not known; put the tokenizer files of the base "
            f"model beside the file (known: {', '.join(sorted(WORDS))})"
        )
    return WORDS[pre]


def _named(v: _Vocabulary, role: str, wanted: bool) -> list[tuple[str, int]]:
    if not wanted:
        return []
    if role not in v.roles:
        raise InputError(f"{v.where}: {_KEY}{_ROLES[role]} is missing, and goes around each text")
    return [(v.tokens[v.roles[role]], v.roles[role])]


def _probe(v: _Vocabulary, back: str) -> None:
    if back != PROBE:
        raise InputError(
            f"{v.where}: the tokenizer of its metadata makes {back!r} of {PROBE!r}; put the "
            "tokenizer files of the base model beside the file"
        )


def _sentencepiece(v: _Vocabulary) -> dict[str, bytes]:
    unknown = v.roles.get("unk_token", next(
        (n for n, kind in enumerate(v.kinds) if kind == _UNKNOWN), 0))  # fmt: skip
    kinds = [_CONTROL if kind == _UNKNOWN else kind for kind in v.kinds]
    kinds[unknown] = _UNKNOWN
    prefix = True if v.add_prefix is None else v.add_prefix
    model = _model(v, kinds, unknown, prefix)
    try:
        pieces = processor(model)
    except Exception as error:  # the library raises RuntimeError and its own kinds
        raise InputError(
            f"{v.where}: its tokens make no SentencePiece model ({one_line(error)})"
        ) from error
    ids = pieces.encode(PROBE)
    if _BYTE in kinds or unknown not in ids:
        _probe(v, pieces.decode(ids))
    named = {role: v.tokens[number] for role, number in v.roles.items()}
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        **named,
        "add_bos_token": True if v.add_bos is None else v.add_bos,
        "add_eos_token": bool(v.add_eos),
    }
    return {"tokenizer.model": model, "tokenizer_config.json": json.dumps(settings).encode()}


def _model(v: _Vocabulary, kinds: list[int], unknown: int, prefix: bool) -> bytes:
    """sentencepiece_model.proto's ModelProto: pieces, trainer_spec and normalizer_spec."""
    pieces = b"".join(
        _field(1, _field(1, token.encode("utf-8", "surrogateescape"))
               + b"\x15" + struct.pack("<f", score) + _number(3, kind))
        for token, score, kind in zip(v.tokens, v.scores, kinds, strict=True)
    )  # fmt: skip
    roles = {40: unknown, 41: v.roles.get("bos_token"), 42: v.roles.get("eos_token")}
    # A model of type BPE, whose scores are ranks; unknown bytes are pieces where there are such.
    trainer = _number(3, 2) + _number(4, len(v.tokens)) + _number(35, int(_BYTE in kinds))
    trainer += b"".join(_number(n, -1 if value is None else value) for n, value in roles.items())
    trainer += _number(43, -1)
    names = {45: unknown, 46: roles[41], 47: roles[42]}
    trainer += b"".join(
        _field(n, v.tokens[value].encode("utf-8", "surrogateescape"))
        for n, value in names.items()
        if value is not None
    )
    normalizer = _field(1, b"identity") + _number(3, int(prefix)) + _number(4, 0) + _number(5, 1)
    return pieces + _field(2, trainer) + _field(3, normalizer)


def _varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content

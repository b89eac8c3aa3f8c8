"""Which files of a checkpoint can change a token id: the one list of them.

They are downloaded, stand for the tokenizer in a checkpoint's identity and in the caches, and are
what a folder without any of them is told to have.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxmap.errors import InputError

# Holds all of a tokenizer by itself, in order of preference. As patterns of file names.
VOCABULARIES = (
    "tokenizer.json",
    "tokenizer.model",  # SentencePiece; tiktoken where it is lines of base64
    "tekken*.json",  # Mistral's own format
    "tiktoken.model",
    "*.tiktoken",
    "spiece.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
    "spm.model",
    "vocab*.json",  # with merges.txt
    "vocab.txt",
    "*vocab*.txt",
)
# Changes what a vocabulary means: special tokens, switches, merges.
SETTINGS = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "merges.txt",
    "*.model.v*",  # tokenizer.model.v3: Mistral's versions of SentencePiece
    "*_tokenizer_config.json",
)
TOKENIZER_FILES = (*VOCABULARIES, *SETTINGS)


def tokenizer_files(names: Iterable[str]) -> list[str]:
    """Those of some file names (without folders) that can change an id, sorted."""
    names = list(names)
    return sorted({name for p in TOKENIZER_FILES for name in fnmatch.filter(names, p)})


def has_vocabulary(names: Iterable[str]) -> bool:
    """Whether some file names (without folders) hold a tokenizer, and not its settings alone."""
    names = list(names)
    return any(fnmatch.filter(names, pattern) for pattern in VOCABULARIES)


def contents_hash(folder: Path) -> str:
    """sha256 hex of all that decides a folder's tokenizer, its config.json included."""
    digest = hashlib.sha256()
    for name in ["config.json", *tokenizer_files(files_in(folder))]:
        path = folder / name
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
    return digest.hexdigest()


def files_in(folder: Path) -> list[str]:
    """The names of a folder's files, subfolders left out."""
    return [path.name for path in folder.iterdir() if path.is_file()]


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads a JSON object; None where there is no such file, InputError where it is none."""
    if not path.exists():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({one_line(error)})") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: not a JSON object")
    return value


def one_line(error: Exception) -> str:
    """The kind of an error and its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__

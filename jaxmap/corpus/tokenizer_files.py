"""The list of a checkpoint's files that can change a token id.

These files are downloaded and are part of a checkpoint's identity and of the caches' keys. An error
about a folder without a tokenizer names them.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxmap.errors import InputError

# Patterns of files that contain a whole tokenizer, in order of preference.
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
# Patterns of files that change the meaning of a vocabulary: special tokens, switches, merges.
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
    """The names, sorted, of those files (without folders) that can change an id."""
    names = list(names)
    return sorted({name for p in TOKENIZER_FILES for name in fnmatch.filter(names, p)})


def has_vocabulary(names: Iterable[str]) -> bool:
    """Whether some file names (without folders) hold a tokenizer, and not its settings alone."""
    names = list(names)
    return any(fnmatch.filter(names, pattern) for pattern in VOCABULARIES)


def contents_hash(folder: Path) -> str:
    """The sha256, in hexadecimal, of the files that decide a folder's tokenizer and config.json."""
    digest = hashlib.sha256()
    for name in ["config.json", *tokenizer_files(files_in(folder))]:
        path = folder / name
        if path.is_file():
            content = path.read_bytes()
            digest.update(f"{name}\0{len(content)}\0".encode("utf-8", "surrogateescape") + content)
    return digest.hexdigest()


def files_in(folder: Path) -> list[str]:
    """The names of a folder's files, without subfolders."""
    return [path.name for path in folder.iterdir() if path.is_file()]


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads a JSON object; None if the file is missing; raises InputError for anything else."""
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
    """The type of an error and its first line."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__

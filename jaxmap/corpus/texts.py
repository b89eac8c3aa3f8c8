"""Text sets, read from files and written to files.

The fingerprint of a set depends only on the texts and their order, not on the file's format.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import zstandard
from absl import logging

from jaxmap.atomic import write_atomic
from jaxmap.corpus.textfiles import (
    TextRecord,
    file_format,
    plain_fields,
    read_records,
    require_utf8,
    to_record,
)
from jaxmap.errors import InputError


@dataclass(frozen=True)
class TextSet:
    """The texts that are scored, in order.

    Fields:
      texts: whole texts, or responses if there are prompts.
      prompts: None for plain texts, otherwise one prompt per response; prompts are not scored.
      source: the origin of the set, for messages only.
      fields: other fields of each text, by name; empty where there are none. They are no part of
        what the set is.

    Raises InputError for a text without a UTF-8 form, or another number of prompts than texts.
    """

    texts: tuple[str, ...]
    prompts: tuple[str, ...] | None = None
    source: str = "texts"
    fields: tuple[Mapping[str, str], ...] = field(default=(), compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.prompts is not None and len(self.prompts) != len(self.texts):
            raise InputError(
                f"{self.source}: {len(self.prompts)} prompts for {len(self.texts)} responses; "
                "give one prompt per response"
            )
        for number, text in enumerate(self.texts, 1):
            require_utf8(text, f"{self.source}, text {number}")
        for number, text in enumerate(self.prompts or (), 1):
            require_utf8(text, f"{self.source}, prompt {number}")

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256, in hexadecimal, of the strings in order, each preceded by its length."""
        digest = hashlib.sha256(b"jaxmap texts 1, ")
        digest.update(b"plain" if self.prompts is None else b"pairs")
        parts = (self.texts,) if self.prompts is None else (self.prompts, self.texts)
        for row in zip(*parts, strict=True):
            for part in row:
                data = part.encode("utf-8")
                digest.update(len(data).to_bytes(8, "little"))
                digest.update(data)
        return digest.hexdigest()

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """The first 128 bits of the sha256 of each text, after its prompt, in hexadecimal."""
        prompts = self.prompts or ("",) * len(self.texts)
        made = []
        for prompt, text in zip(prompts, self.texts, strict=True):
            before = prompt.encode("utf-8")
            whole = len(before).to_bytes(8, "little") + before + text.encode("utf-8")
            made.append(hashlib.sha256(whole).hexdigest()[:32])
        return tuple(made)

    @cached_property
    def unordered_fingerprint(self) -> str:
        """The sha256, in hexadecimal, of the texts whatever their order."""
        return hashlib.sha256("".join(sorted(self.digests)).encode()).hexdigest()

    @cached_property
    def num_bytes(self) -> np.ndarray:
        """The UTF-8 bytes of each text or response, without its prompt, int64 [N]."""
        return np.array([len(text.encode("utf-8")) for text in self.texts], np.int64)

    def values(self, name: str) -> list[str]:
        """The field `name` of each text, such as "source" or "meta.pile_set_name"; "none" where a
        text has none. Raises InputError for a field that no text has."""
        values = [one.get(name, "") for one in self.fields] or [""] * len(self)
        if not any(values):
            known = sorted({field for one in self.fields for field in one})
            has = f"they have {', '.join(known)}" if known else "they have none"
            raise InputError(f"no text has the field {name!r}; {has}", field="by")
        return [value or "none" for value in values]


def load_texts(path: str | os.PathLike[str], limit: int | None = None) -> TextSet:
    """Reads the texts of a file.

    Args:
      path: .jsonl: one object per line with `text`, or with `prompt` and `response`; blank lines
        are skipped. .json: a list of strings or of such objects. .txt: one text per line; row n is
        line n, so a blank line is an empty text. Each may be followed by .gz or .zst. Lines end at
        "\\n" or "\\r\\n" only.
      limit: the number of texts to read, from the first; None: all. .jsonl and .txt files are then
        read no further than needed; a .json list is read completely.

    Duplicates are kept, with a warning. Raises InputError with file and line for anything else.
    """
    if limit is not None and limit < 1:
        raise InputError(f"{path}: cannot read {limit} texts; the limit must be at least 1")
    with closing(read_records(path)) as stream:
        records = list(islice(stream, limit))
    if not records:
        raise InputError(f"{path}: no texts in it; scoring needs at least one")
    _warn_of_duplicates(path, records)
    paired = records[0].prompt is not None
    return TextSet(
        texts=tuple(record.text for record in records),
        prompts=tuple(record.prompt or "" for record in records) if paired else None,
        source=str(path),
        fields=tuple(plain_fields(record.fields) for record in records),
    )


def save_texts(path: str | os.PathLike[str], rows: Iterable[Mapping[str, object]]) -> int:
    """Writes rows as .jsonl (or .jsonl.gz, .jsonl.zst) and returns their number.

    Each row has a string `text`, or strings `prompt` and `response`, and any other JSON fields.
    The file is written atomically. Raises InputError for a bad row or name, if there are no rows,
    and if the file cannot be written.
    """
    path = Path(path)
    kind, compression = file_format(path)
    if kind != ".jsonl":
        raise InputError(f"{path}: texts are written as .jsonl, .jsonl.gz or .jsonl.zst")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; name a file in it")
    count = 0

    def write(file: BinaryIO) -> None:
        nonlocal count
        with _compressor(file, compression) as stream:
            for count, row in enumerate(rows, 1):
                to_record(path, f"row {count}", row)
                # File names may contain surrogates, which JSON can express (\udc80); texts cannot.
                line = json.dumps(row, ensure_ascii=False)
                stream.write(line.encode("utf-8", "backslashreplace") + b"\n")
        if not count:
            raise InputError(f"{path}: no texts to write")

    write_atomic(path, write)
    return count


def _warn_of_duplicates(path: str | os.PathLike[str], records: list[TextRecord]) -> None:
    seen: dict[tuple[str | None, str], int] = {}
    first, count = (0, 0), 0
    for number, record in enumerate(records, 1):
        earlier = seen.setdefault((record.prompt, record.text), number)
        if earlier != number:
            first = first if count else (earlier, number)
            count += 1
    if count:
        logging.warning(
            "%s: %d of %d texts repeat an earlier one (first: texts %d and %d); all are kept",
            path,
            count,
            len(records),
            *first,
        )


def _compressor(file: BinaryIO, compression: str) -> AbstractContextManager[Any]:
    if compression == ".gz":  # no time and no name inside: the same texts give the same bytes
        return gzip.GzipFile(filename="", fileobj=file, mode="wb", mtime=0)
    if compression == ".zst":
        return zstandard.ZstdCompressor().stream_writer(file, closefd=False)
    return nullcontext(file)

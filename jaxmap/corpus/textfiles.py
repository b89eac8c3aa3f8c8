"""Reads texts from files one by one: .jsonl, .json and .txt, plain, gzip or Zstandard."""

from __future__ import annotations

import codecs
import gzip
import json
import os
import zlib
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import zstandard

from jaxmap.errors import InputError

FORMATS = (".jsonl", ".json", ".txt")
COMPRESSIONS = ("", ".gz", ".zst")
_BLOCK_BYTES = 1 << 16
_ZSTD_BLOCK_BYTES = 1 << 9  # each 4 of them can stand for 128 KiB


@dataclass(frozen=True)
class TextRecord:
    """One text of a file; `where` is its line or item, for messages, `fields` all that it has."""

    where: str
    text: str
    prompt: str | None
    fields: Mapping[str, object] = field(default_factory=dict, repr=False)


def read_records(path: str | os.PathLike[str]) -> Generator[TextRecord]:
    """Yields the texts of a file one by one; for forms and errors see `texts.load_texts`."""
    path = Path(path)
    kind, compression = file_format(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a file of texts")
    if not path.exists():
        raise InputError(f"{path}: no such file")
    blocks = _without_bom(_blocks(path, compression))
    records = {".jsonl": _jsonl, ".json": _json, ".txt": _txt}[kind](path, blocks)
    paired = None
    for record in records:
        if paired is None:
            paired = record.prompt is not None
        if paired != (record.prompt is not None):
            has, others = ("a plain text", "pairs") if paired else ("a pair", "plain texts")
            raise InputError(
                f"{path}, {record.where}: {has} among {others}; a set is all plain texts "
                "(`text`) or all pairs (`prompt` and `response`)"
            )
        yield record


def file_format(path: Path) -> tuple[str, str]:
    """(format, compression) by the file's name; raises InputError if they are unknown."""
    name = path.name.lower()
    for compression in COMPRESSIONS:
        for kind in FORMATS:
            if name.endswith(kind + compression):
                return kind, compression
    raise InputError(
        f"{path}: unknown kind of texts file; known are {', '.join(FORMATS)}, "
        "each also with .gz or .zst appended"
    )


def _blocks(path: Path, compression: str) -> Iterator[bytes]:
    try:
        with path.open("rb") as file:
            if compression == ".gz":
                with gzip.GzipFile(fileobj=file) as stream:
                    while block := stream.read(_BLOCK_BYTES):
                        yield block
            elif compression == ".zst":
                yield from _zstd_blocks(file)
            else:
                while block := file.read(_BLOCK_BYTES):
                    yield block
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise InputError(
            f"{path}: truncated or corrupt {compression} file ({error}); make or fetch it again"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _zstd_blocks(file: BinaryIO) -> Iterator[bytes]:
    # zstandard's stream_reader ends at a truncated frame without an error, so frames, of which a
    # file may have several, are read one by one.
    decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 31)
    frame = None
    while block := file.read(_ZSTD_BLOCK_BYTES):
        while block:
            if frame is None:
                frame = decompressor.decompressobj()
            yield frame.decompress(block)
            block = frame.unused_data if frame.eof else b""
            if frame.eof:
                frame = None
    if frame is not None:
        raise EOFError("the file ends inside a frame")


def _without_bom(blocks: Iterator[bytes]) -> Iterator[bytes]:
    head = b""
    for block in blocks:
        head += block
        if len(head) >= len(codecs.BOM_UTF8):
            break
    yield head.removeprefix(codecs.BOM_UTF8)
    yield from blocks


def _lines(blocks: Iterator[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number from 1, line) without its end; a trailing newline makes no further line."""
    number = 1
    parts: list[bytes] = []
    for block in blocks:
        *ends, rest = block.split(b"\n")
        for end in ends:
            yield number, b"".join((*parts, end)).removesuffix(b"\r")
            number += 1
            parts = []
        if rest:
            parts.append(rest)
    if parts:
        yield number, b"".join(parts)


def _decode(path: Path, number: int, line: bytes) -> str:
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        *earlier, line_start = line[: error.start].split(b"\n")
        raise InputError(
            f"{path}, line {number + len(earlier)}: invalid UTF-8 at byte {len(line_start)} of the "
            f"line (0x{line[error.start]:02x}); save the file as UTF-8"
        ) from error


def _txt(path: Path, blocks: Iterator[bytes]) -> Iterator[TextRecord]:
    for number, line in _lines(blocks):
        yield TextRecord(f"line {number}", _decode(path, number, line), None)


def _jsonl(path: Path, blocks: Iterator[bytes]) -> Iterator[TextRecord]:
    for number, line in _lines(blocks):
        text = _decode(path, number, line)
        if not text.strip():
            continue
        where = f"line {number}"
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, {where}: not JSON ({error.msg} at column {error.colno})"
            ) from error
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}, {where}: not JSON that can be read ({error})") from error
        yield to_record(path, where, row)


def _json(path: Path, blocks: Iterator[bytes]) -> Iterator[TextRecord]:
    text = _decode(path, 1, b"".join(blocks))
    try:
        rows = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path}, line {error.lineno}: not JSON ({error.msg} at column {error.colno}); "
            "a file with one object per line is named .jsonl"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON that can be read ({error})") from error
    if not isinstance(rows, list):
        raise InputError(f"{path}: not a list of strings but {_kind(rows)}")
    for number, row in enumerate(rows, 1):
        where = f"item {number}"
        yield to_record(path, where, {"text": row} if isinstance(row, str) else row)


def to_record(path: str | Path, where: str, row: object) -> TextRecord:
    """The text or pair in one JSON value."""
    where_full = f"{path}, {where}"
    if not isinstance(row, Mapping):
        raise InputError(f'{where_full}: not an object but {_kind(row)}; write {{"text": ...}}')
    plain, pair = "text" in row, {"prompt", "response"} & row.keys()
    if plain and pair:
        raise InputError(f"{where_full}: has `text` and `{min(pair)}`; keep one form")
    if not plain and len(pair) < 2:
        has = f"`{min(pair)}` alone" if pair else "no `text`"
        raise InputError(f"{where_full}: has {has}; give `text`, or `prompt` and `response`")
    values = {}
    for key in ("text",) if plain else ("prompt", "response"):
        values[key] = row[key]
        if not isinstance(row[key], str):
            raise InputError(f"{where_full}: `{key}` is not a string but {_kind(row[key])}")
        require_utf8(row[key], f"{where_full}, `{key}`")
    return TextRecord(where, values["text" if plain else "response"], values.get("prompt"), row)


_LONGEST = 200  # characters of a field's value; longer ones are texts themselves


def plain_fields(row: Mapping[str, object]) -> dict[str, str]:
    """The fields beside the text that are plain values, as text; those of an object within, such as
    the Pile's `meta`, by names with a dot."""
    found = {}
    for name, value in row.items():
        if name in ("text", "prompt", "response"):
            continue
        inside = value if isinstance(value, Mapping) else {"": value}
        for part, one in inside.items():
            if isinstance(one, str | int | float | bool) and len(str(one)) <= _LONGEST:
                found[f"{name}.{part}" if part else name] = str(one)
    return found


def require_utf8(text: str, where: str) -> None:
    """Raises InputError for a text with a lone surrogate; `where` names it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{where}: character {error.start} is the lone surrogate "
            f"U+{ord(text[error.start]):04X}, which has no UTF-8 form; correct or remove the text"
        ) from error


def _kind(value: object) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a string",
        bool: "true or false",
        int: "a number",
        float: "a number",
        type(None): "null",
    }
    return names.get(type(value), type(value).__name__)

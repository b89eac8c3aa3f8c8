"""The header of a GGUF file: metadata and a list of tensors, as ggml's specification has them.

    "GGUF", uint32 version, uint64 tensors, uint64 keys,
    keys: string name, uint32 kind, value        (string: uint64 length, UTF-8)
    tensors: string name, uint32 axes, uint64 sizes (the fastest axis first), uint32 type, uint64
    offset from the end of the header, rounded up to general.alignment

Specification: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import functools
import math
import os
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from jaxmap.errors import InputError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
SPLIT = re.compile(r"(?P<stem>.+)-(?P<no>\d{5})-of-(?P<of>\d{5})\.gguf")

_SCALARS = dict(enumerate("BbHhIif?", start=0)) | {10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_MOST_AXES = 4
_LONGEST = 1 << 16  # bytes of a name
_MOST = 1 << 31  # entries of a list, bytes of a string: more is damage


class TruncatedError(Exception):
    """The header is longer than the part of the file that was read."""


@dataclass(frozen=True)
class TensorInfo:
    """One tensor: where it lies and how its numbers are stored.

    Fields:
      file: that holds it.
      shape: slowest axis first, as NumPy and PyTorch have it.
      kind: of the numbers, such as Q4_K.
      start: byte in the file.
      num_bytes: that it takes.
    """

    file: Path
    shape: tuple[int, ...]
    kind: str
    start: int
    num_bytes: int


@dataclass(frozen=True)
class Header:
    """What stands before the numbers of a GGUF file, or of several that were split.

    Fields:
      file: the file, the first of several.
      metadata: its keys.
      tensors: by name.
    """

    file: Path
    metadata: Mapping[str, Any]
    tensors: Mapping[str, TensorInfo]

    @property
    def architecture(self) -> str:
        """general.architecture; InputError where there is none."""
        name = self.metadata.get("general.architecture")
        if not isinstance(name, str) or not name:
            raise InputError(f"{self.file}: general.architecture is missing")
        return name

    @property
    def file_type(self) -> str:
        """As files are named after it: Q4_K_M; "" where the file does not say."""
        from gguf import LlamaFileType

        try:
            name = LlamaFileType(int(self.metadata.get("general.file_type", -1))).name
        except (ValueError, TypeError, OverflowError):
            return ""
        name = name.removeprefix("MOSTLY_").removeprefix("ALL_")
        return "" if name == "GUESSED" else name


def read_header(path: Path) -> Header:
    """The header of one file; of a split one see `read_headers`.

    Raises InputError for a file that is truncated, of another byte order or version, or has
    tensors of an unknown type.
    """
    stat = os.stat(path)
    return _read(path, stat.st_size, stat.st_mtime_ns)


def read_headers(paths: list[Path]) -> Header:
    """The header of a model whose tensors are in several files, in their order."""
    first, *others = [read_header(path) for path in paths]
    tensors = dict(first.tensors)
    for one in others:
        for name, info in one.tensors.items():
            if name in tensors:
                raise InputError(f"{one.file}: tensor {name} is in {tensors[name].file.name} too")
            tensors[name] = info
    want = first.metadata.get("split.tensors.count")
    if others and isinstance(want, int) and want != len(tensors):
        raise InputError(f"{first.file}: {len(tensors)} tensors in {len(paths)} files, not {want}")
    return Header(first.file, first.metadata, MappingProxyType(tensors))


@functools.lru_cache(maxsize=8)
def _read(path: Path, size: int, mtime_ns: int) -> Header:
    import mmap

    try:
        with open(path, "rb") as stream:
            if not size:
                raise InputError(f"{path}: not a GGUF file: it is empty")
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
                return parse(content, path, size)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except TruncatedError:
        raise InputError(f"{path}: truncated: the file ends within its header") from None


def parse(content: Any, path: Path, size: int) -> Header:
    """The header in a file's first bytes.

    Args:
      content: bytes, or a map of the file.
      path: for messages, and for the tensors.
      size: of the whole file; what lies beyond it is missing.

    Raises TruncatedError where `content` ends within the header, InputError as `read_header`.
    """
    cursor = _Cursor(content, path)
    if content[:4] != MAGIC:
        raise InputError(f"{path}: not a GGUF file: it begins with {bytes(content[:4])!r}")
    cursor.at = 4
    version = cursor.scalar("I")
    if version not in VERSIONS:
        if version & 0xFFFF == 0:
            raise InputError(f"{path}: big-endian GGUF, which is not supported; convert it")
        raise InputError(f"{path}: GGUF version {version}; known: 2 and 3; convert it again")
    num_tensors, num_keys = cursor.scalar("Q"), cursor.scalar("Q")
    if max(num_tensors, num_keys) > _MOST:
        raise InputError(f"{path}: corrupt: {num_tensors:,} tensors and {num_keys:,} keys")
    metadata: dict[str, Any] = {}
    for _ in range(num_keys):
        key = cursor.name()
        if key in metadata:
            raise InputError(f"{path}: metadata key {key} is there twice")
        metadata[key] = cursor.value(cursor.scalar("I"), key)
    facts = [_tensor_facts(cursor) for _ in range(num_tensors)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 0 < alignment <= 1 << 20:
        raise InputError(f"{path}: general.alignment = {alignment!r} is no alignment")
    begin = -(-cursor.at // alignment) * alignment
    tensors: dict[str, TensorInfo] = {}
    for name, shape, number, offset in facts:
        if name in tensors:
            raise InputError(f"{path}: tensor {name} is there twice")
        kind, num_bytes = _kind(path, name, shape, number)
        if begin + offset + num_bytes > size:
            raise InputError(
                f"{path}: truncated: {name} ends at byte {begin + offset + num_bytes:,}, the file "
                f"at {size:,}; download it again"
            )
        tensors[name] = TensorInfo(path, shape, kind, begin + offset, num_bytes)
    return Header(path, MappingProxyType(metadata), MappingProxyType(tensors))


def _tensor_facts(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    name = cursor.name()
    axes = cursor.scalar("I")
    if axes > _MOST_AXES:
        raise InputError(f"{cursor.path}: tensor {name} has {axes} axes; at most {_MOST_AXES}")
    sizes = tuple(cursor.scalar("Q") for _ in range(axes))
    return name, sizes[::-1], cursor.scalar("I"), cursor.scalar("Q")


def _kind(path: Path, name: str, shape: tuple[int, ...], number: int) -> tuple[str, int]:
    """What a type number is called, and the bytes of a tensor of this type."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        kind = GGMLQuantizationType(number)
    except ValueError:
        raise InputError(
            f"{path}: tensor {name} has type number {number}, which the gguf package does not "
            "know (ik_llama.cpp and other forks have types of their own)"
        ) from None
    block, block_bytes = GGML_QUANT_SIZES[kind]
    if not shape or shape[-1] % block:
        raise InputError(
            f"{path}: tensor {name} of shape {list(shape)} is no whole number of {kind.name} "
            f"blocks of {block}"
        )
    return kind.name, math.prod(shape) // block * block_bytes


class _Cursor:
    """Reads little-endian values one after another."""

    def __init__(self, content: Any, path: Path):
        self._content, self._end = content, len(content)
        self.path, self.at = path, 0

    def _take(self, count: int) -> int:
        at = self.at
        if count > self._end - at:
            raise TruncatedError
        self.at = at + count
        return at

    def scalar(self, letter: str) -> Any:
        at = self._take(struct.calcsize(f"<{letter}"))
        return struct.unpack_from(f"<{letter}", self._content, at)[0]

    def string(self) -> str:
        """A string of UTF-8; other bytes become surrogates."""
        return self._string(_MOST)

    def name(self) -> str:
        """A string that names a key or a tensor, which messages can repeat."""
        text = self._string(_LONGEST)
        if not text.isprintable():
            raise InputError(f"{self.path}: corrupt: a key or a tensor is called {text[:20]!a}...")
        return text

    def _string(self, longest: int) -> str:
        length = self.scalar("Q")
        if length > longest:
            raise InputError(f"{self.path}: corrupt: a string of {length:,} bytes")
        at = self._take(length)
        return bytes(self._content[at : at + length]).decode("utf-8", "surrogateescape")

    def value(self, kind: int, key: str) -> Any:
        if kind in _SCALARS:
            return self.scalar(_SCALARS[kind])
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            raise InputError(f"{self.path}: {key} is of the unknown kind {kind}")
        item, count = self.scalar("I"), self.scalar("Q")
        if count > _MOST:
            raise InputError(f"{self.path}: corrupt: {key} is a list of {count:,}")
        if item in _SCALARS:
            letter = f"<{count}{_SCALARS[item]}"
            at = self._take(struct.calcsize(letter))
            return list(struct.unpack_from(letter, self._content, at))
        return [self.value(item, key) for _ in range(count)]

"""Cuts documents into chunks and draws a set of texts from them (Oyama et al., arXiv 2502.16173).

The draw is from the list of all kept chunks, so its length must be known first. A million documents
in memory would take gigabytes, and reading them twice would download them twice. Therefore each
document with a kept chunk is written once to a scratch file (in memory while it is small), memory
has two integers per document, and the few drawn chunks are cut again from the scratch file.
`random.sample` chooses positions by the length only, so drawing from a `range` draws the same
chunks as drawing from the list.
"""

from __future__ import annotations

import random
import tempfile
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxmap.errors import InputError, JaxmapError

DEFAULT_N = 10_000
_DRAWN_PER_KEPT = 4  # the published set: 40,000 drawn, the first 10,000 kept
_IN_MEMORY = 64 << 20  # bytes of documents in memory; more are written to a scratch file


@dataclass(frozen=True)
class Chunk:
    """A chunk of a document; `chunk_idx` counts all chunks of the document, kept or not."""

    text: str
    document: str
    doc_idx: int
    chunk_idx: int


def chunk(document: str, max_bytes: int = 1024) -> Iterator[str]:
    """Cuts a document into consecutive chunks of at most `max_bytes` UTF-8 bytes.

    A cut inside a character moves back to the character's start. Raises InputError for
    max_bytes < 4, which is too few for some characters.
    """
    if max_bytes < 4:
        raise InputError(f"max_bytes={max_bytes}: a character may need 4 bytes; give at least 4")
    return _pieces(_encode("document", document), max_bytes)


def _pieces(data: bytes, max_bytes: int) -> Iterator[str]:
    start = 0
    while start < len(data):
        end = min(start + max_bytes, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:  # a continuation byte
            end -= 1
        yield data[start:end].decode("utf-8")
        start = end


def _encode(name: str, document: str) -> bytes:
    try:
        return document.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name}: character {error.start} is a lone surrogate, which has no UTF-8 form; "
            "correct or remove the document"
        ) from error


def _write(file: tempfile.SpooledTemporaryFile[bytes], data: bytes) -> None:
    try:
        file.write(data)
    except OSError as error:
        raise JaxmapError(
            f"the scratch file for the documents cannot be written ({error.strerror or error}); "
            "free some disk space and run again"
        ) from error


def sample_chunks(
    documents: Iterable[tuple[str, str]],
    n: int | None = None,
    min_bytes: int = 256,
    max_bytes: int = 1024,
    seed: int = 42,
    scratch: Path | None = None,
    in_memory: int = _IN_MEMORY,
) -> list[Chunk]:
    """The first n of 4n chunks drawn without replacement from those of more than min_bytes bytes.

    With the defaults and at least 40,000 kept chunks this is `random.seed(42)` and
    `random.sample(chunks, 40_000)[:10_000]` (arXiv 2502.16173). If there are fewer than 4n chunks,
    all are drawn.

    Args:
      documents: (name, text) of each document.
      n: the number of chunks; None: 10,000, or all if there are fewer.
      min_bytes, max_bytes: a kept chunk has more than min_bytes and at most max_bytes bytes.
      seed: the seed of the draw.
      scratch: the folder for the scratch file.
      in_memory: the number of bytes of documents from which a scratch file is used.

    Raises:
      InputError: when n was given and fewer chunks exist.
      JaxmapError: when the scratch file cannot be written.
    """
    if n is not None and n < 1:
        raise InputError(f"n={n}: give at least 1 text to draw")
    if not 0 <= min_bytes < max_bytes:
        raise InputError(
            f"min_bytes={min_bytes}, max_bytes={max_bytes}: chunks have more than min_bytes and at "
            "most max_bytes bytes; give 0 <= min_bytes < max_bytes"
        )
    chunk("", max_bytes)
    folder = None if scratch is None else str(scratch)
    names: list[str] = []
    first_kept = array("q")  # number of kept chunks before each document
    offsets = array("q", [0])  # where each document starts in the scratch file
    num_kept = 0
    with tempfile.SpooledTemporaryFile(in_memory, dir=folder) as file:
        for name, document in documents:
            data = _encode(name, document)
            kept = sum(len(p.encode("utf-8")) > min_bytes for p in _pieces(data, max_bytes))
            names.append(name)
            first_kept.append(num_kept)
            num_kept += kept
            if kept:
                _write(file, data)
            offsets.append(offsets[-1] + (len(data) if kept else 0))
        if not num_kept or (n is not None and num_kept < n):
            raise InputError(
                f"only {num_kept} chunks of more than {min_bytes} bytes in {len(names)} documents, "
                f"{n or 1} wanted; lower n or min_bytes, or give a larger source"
            )
        n = n or DEFAULT_N
        drawn = random.Random(seed).sample(range(num_kept), min(_DRAWN_PER_KEPT * n, num_kept))[:n]
        chunks = []
        for index in drawn:
            # Documents without a kept chunk have the same start as the next one: take the last.
            doc = bisect_right(first_kept, index) - 1
            file.seek(offsets[doc])
            data = file.read(offsets[doc + 1] - offsets[doc])
            pieces = [
                (i, piece)
                for i, piece in enumerate(_pieces(data, max_bytes))
                if len(piece.encode("utf-8")) > min_bytes
            ]
            i, piece = pieces[index - first_kept[doc]]
            chunks.append(Chunk(piece, names[doc], doc, i))
    return chunks

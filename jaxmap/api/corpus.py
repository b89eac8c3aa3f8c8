"""The texts that models are scored on."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Any

from jaxmap.api.arguments import Path
from jaxmap.corpus.chunks import Chunk
from jaxmap.corpus.texts import TextSet, save_texts
from jaxmap.errors import InputError
from jaxmap.results import Result


@dataclasses.dataclass(frozen=True)
class DrawnTexts(Result):
    """Texts drawn from a corpus; `score` takes them as they are.

    Fields:
      source: where they come from.
      chunks: the texts, each with its document and its place in it.
      out: the file that they were written to, or None.
    """

    source: str
    chunks: tuple[Chunk, ...]
    out: FilePath | None = None

    def __len__(self) -> int:
        return len(self.chunks)

    @functools.cached_property
    def text_set(self) -> TextSet:
        """The texts alone, in order."""
        return TextSet(tuple(one.text for one in self.chunks), source=str(self.out or self.source))

    def text(self) -> str:
        """One line with their number."""
        where = f"in {self.out}" if self.out else f"from {self.source}"
        return f"{len(self.chunks)} texts {where}\n"

    def to_dataframe(self) -> Any:
        """One row per text: index, text, document, doc_idx, chunk_idx, as in the file."""
        import pandas

        return pandas.DataFrame(list(self._rows()))

    def save(self, folder: Path) -> list[FilePath]:
        """Writes texts.jsonl."""
        path = FilePath(folder) / "texts.jsonl"
        save_texts(path, self._rows())
        return [path]

    def _rows(self) -> Iterator[dict[str, Any]]:
        from jaxmap.corpus.sources import rows_of

        return rows_of(self.chunks)


def texts(
    source: Path,
    *,
    out: Path | None = None,
    n: int | None = None,
    min_bytes: int = 256,
    max_bytes: int = 1024,
    seed: int = 42,
    overwrite: bool = False,
) -> DrawnTexts:
    """Cuts a corpus into texts and draws some of them, by the published recipe.

    Documents are cut into chunks of at most `max_bytes` UTF-8 bytes that never split a character,
    chunks of at most `min_bytes` are dropped, and `n` are drawn (Oyama et al., arXiv 2502.16173).

    Args:
      source: "stdlib" (the sources of the running Python, which works offline), "pile", a file or
        folder, or a dataset of the Hub as `org/name[:config][@split]`.
      out: a .jsonl (or .jsonl.gz, .jsonl.zst) file to write them to; None: none is written.
      n: how many texts; None: 10,000, or all where there are fewer.
      min_bytes: texts have more UTF-8 bytes than this.
      max_bytes: texts have at most this many UTF-8 bytes.
      seed: of the random draw.
      overwrite: whether `out` may replace a file that is there.

    Raises InputError for a source or number that cannot be had and for an `out` that is there,
    and JaxmapError where the network fails.
    """
    from jaxmap.corpus.sources import draw_texts, make_texts

    options = dict(n=n, min_bytes=min_bytes, max_bytes=max_bytes, seed=seed)
    name = str(source)
    if out is None:
        return DrawnTexts(name, tuple(draw_texts(name, **options)))  # type: ignore[arg-type]
    if not overwrite and FilePath(out).is_file():
        raise InputError(
            "is there already; choose another name, or give `overwrite` to replace it",
            field="out",
            value=out,
        )
    chunks = make_texts(FilePath(out), name, **options)  # type: ignore[arg-type]
    return DrawnTexts(name, tuple(chunks), FilePath(out))

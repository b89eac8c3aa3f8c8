"""A resolved reference (a commit and files to fetch), and a checkpoint's files on disk."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.model_card import NO_CARD, ModelCard
from jaxmap.errors import InputError


class FileStat(NamedTuple):
    """The facts by which an unchanged file is recognised without reading it (times in ns)."""

    name: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Remote(NamedTuple):
    """A file to download, with its bytes and SHA-256 if the Hub states them.

    `source` is its path in the repository, if it is not in the same folder as the other files.
    """

    name: str
    size: int | None
    sha256: str | None
    source: str = ""


@dataclass(frozen=True)
class Resolved:
    """A reference whose commit and files are known, before they are fetched.

    `commit` identifies the contents: a Git commit (Hub, Git clone) or "sha256:..." (folder).
    `files` has the stat signature if the files are already in `folder`; otherwise it is empty.
    """

    ref: Ref
    commit: str
    place: Literal["folder", "git", "hub", "adapter", "gguf"]
    folder: Path  # the checkpoint; for "git" the clone; for "hub" where it will be
    files: tuple[FileStat, ...] = ()
    remote: tuple[Remote, ...] = ()
    parts: tuple[Resolved, ...] = ()  # of an adapter: itself, and its base; of a GGUF: its files
    card: ModelCard = NO_CARD  # as far as the Hub's listing has it
    has_card: bool = False  # whether there is a card that the listing does not contain

    @property
    def num_bytes(self) -> int:
        """The bytes of the files, on disk or to download, as far as known."""
        own = sum(file.size for file in self.files) + sum(file.size or 0 for file in self.remote)
        return own + sum(part.num_bytes for part in self.parts)


@dataclass(frozen=True)
class CheckpointFiles:
    """A checkpoint on disk: `folder` has config.json, weights and tokenizer files."""

    ref: Ref
    folder: Path
    commit: str
    files: tuple[FileStat, ...]
    card: ModelCard = NO_CARD  # what the model's card says; it is no part of the identity
    tokenizer: str = ""  # where the tokenizer is from, where that is not the files beside the model


Signature = Sequence[Sequence]  # of FileStat, or the lists that JSON makes of them
Known = Callable[[Ref], Iterable[tuple[Signature, str]]]


def stat_files(folder: Path, names: Iterable[str], where: str) -> tuple[FileStat, ...]:
    """The stat signature of files, following links, ordered by name."""
    signature = []
    for name in sorted(names):
        try:
            stat = os.stat(folder / name)
        except OSError as error:
            missing = "is missing" if isinstance(error, FileNotFoundError) else error.strerror
            raise InputError(f"{where}: {name} {missing}") from error
        times = stat.st_mtime_ns, stat.st_ctime_ns
        signature.append(FileStat(name, stat.st_size, *times, stat.st_ino))
    return tuple(signature)


def nearest(wanted: str, names: Iterable[str], most: int = 5) -> str:
    """The most similar names to the one wanted, for a message; `step7` is similar to `step8`."""

    def distance(name: str) -> tuple[float, float]:
        likeness = difflib.SequenceMatcher(None, wanted, name).ratio()
        a, b = (re.fullmatch(r"(.*?)(\d{1,15})", text) for text in (wanted, name))
        if a and b and a[1] == b[1]:
            return (abs(int(a[2]) - int(b[2])), -likeness)
        return (float("inf"), -likeness)

    found = sorted(names, key=distance)
    if not found:
        return "it has none"
    return "nearest: " + ", ".join(found[:most])

"""Checkpoints in folders: a folder, a subfolder `folder@step1000`, or a model in a Hub cache.

A folder has no commit; a hash of the files that are read is used instead.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from jaxmap.checkpoint.formats import choose, models_in
from jaxmap.checkpoint.formats.index import shards
from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.git import LFS_POINTER
from jaxmap.checkpoint.sources.model_card import read_card
from jaxmap.checkpoint.sources.types import (
    CheckpointFiles,
    FileStat,
    Known,
    Resolved,
    nearest,
    stat_files,
)
from jaxmap.errors import InputError, JaxmapError
from jaxmap.progress import progress

_PIECE = 8 << 20  # bytes read at a time
_SHOW_PROGRESS = (
    1_000_000_000  # bytes from which a progress bar is shown, since hashing takes seconds
)


def resolve(ref: Ref, folder: Path, known: Known) -> Resolved:
    """Resolves a folder: its files, and their hash, which `known` may have."""
    where = str(ref)
    files = stat_files(folder, names_of(folder, where, ref.file), where)
    for signature, commit in known(ref):
        if tuple(FileStat(*file) for file in signature) == files:
            return Resolved(ref, commit, "folder", folder, files)
    for file in files:
        with open(folder / file.name, "rb") as stream:
            if stream.read(len(LFS_POINTER)) == LFS_POINTER:
                raise InputError(
                    f"{where}: {file.name} is a Git LFS pointer, not the file itself; "
                    "run `git lfs pull` in the folder"
                )
    return Resolved(ref, content_hash(folder, files, where), "folder", folder, files)


def fetch(resolved: Resolved) -> CheckpointFiles:
    """The files of a resolved folder; raises JaxmapError if one has changed since `resolve`."""
    where, folder = str(resolved.ref), resolved.folder
    if stat_files(folder, [file.name for file in resolved.files], where) != resolved.files:
        raise JaxmapError(f"{where}: files changed while they were read; run it again")
    return CheckpointFiles(resolved.ref, folder, resolved.commit, resolved.files, read_card(folder))


def content_hash(
    folder: Path,
    files: Iterable[FileStat],
    where: str,
    *,
    piece: int = _PIECE,
    show_progress: int = _SHOW_PROGRESS,
) -> str:
    """Hashes names and contents: SHA-256 over the lines `name, NUL, SHA-256 of the file`.

    Args:
      folder, files, where: the folder, its files, and its name in errors.
      piece: the number of bytes that are read at a time.
      show_progress: the number of bytes from which a progress bar is shown.

    Raises JaxmapError if a file changes while it is read.
    """
    files = sorted(files)
    total = sum(file.size for file in files)
    whole = hashlib.sha256()
    with ExitStack() as stack:
        bar = None
        if total >= show_progress:
            options = {"unit_scale": True, "unit_divisor": 1024, "leave": False}
            bar = stack.enter_context(progress(total, f"hashing {where}", "B", **options))
        for file in files:
            digest = hashlib.sha256()
            try:
                with open(folder / file.name, "rb") as stream:
                    while data := stream.read(piece):
                        digest.update(data)
                        if bar is not None:
                            bar.update(len(data))
            except OSError as error:
                raise InputError(f"{where}: cannot read {file.name}: {error.strerror}") from error
            whole.update(f"{file.name}\0{digest.hexdigest()}\n".encode("utf-8", "surrogateescape"))
    if stat_files(folder, [file.name for file in files], where) != tuple(files):
        raise JaxmapError(f"{where}: files change while they are read; run it when writing is done")
    return "sha256:" + whole.hexdigest()


def names_of(folder: Path, where: str, file: str = "") -> list[str]:
    """Names the files of a folder that matter, the shards of an index with them; of several GGUF
    files that which is named."""
    try:
        # Not only existing files: a dangling link is reported by its name.
        have = [entry.name for entry in os.scandir(folder) if not entry.is_dir()]
    except OSError as error:
        raise InputError(f"{where}: cannot read the folder: {error.strerror}") from error
    if not {"config.json", "adapter_config.json"} & set(have) and not models_in(have):
        steps = [path.parent.name for path in sorted(folder.glob("*/config.json"))]
        if steps:
            like = f"{where}/{steps[0]}" if "@" in where else f"{where}@{steps[0]}"
            raise InputError(
                f"{where}: no config.json here but in {len(steps)} subfolders; write {like}, "
                "or several as @{" + ",".join(steps[:3]) + "}"
            )
    choice = choose(have, where, file)
    more = shards(folder / choice.index, where) if choice.index else []
    return [*choice.names, *more]


def is_hub_cache(folder: Path) -> bool:
    """Whether a folder is the folder of a model in a Hub cache (refs/, snapshots/, blobs/)."""
    return (folder / "snapshots").is_dir() and not (folder / "config.json").exists()


def cached_revisions(base: Path) -> list[str]:
    """The branches and tags of which a Hub cache's folder has a snapshot."""
    refs = base / "refs"
    return [path.relative_to(refs).as_posix() for path in refs.rglob("*") if path.is_file()]


def snapshot(base: Path, revision: str) -> Path:
    """The folder of a revision's snapshot in a Hub cache's folder."""
    pointer = base / "refs" / revision
    commit = pointer.read_text().strip() if pointer.is_file() else revision
    folder = base / "snapshots" / commit
    if re.fullmatch(r"[0-9a-f]{7,64}", commit) and folder.is_dir():
        return folder
    have = cached_revisions(base)
    have += [path.name for path in (base / "snapshots").iterdir()]
    raise InputError(f"{base}: no revision {revision!r} in this cache ({nearest(revision, have)})")

"""Downloads single files from the Hugging Face Hub into its cache and checks their contents.

The client library checks a file's size; its SHA-256 is checked here.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from jaxmap.byte_sizes import byte_text
from jaxmap.checkpoint.sources.hub_client import COMMIT, Hub, disk_full, request
from jaxmap.checkpoint.sources.types import Remote, Resolved
from jaxmap.errors import JaxmapError


def download(file: Remote, resolved: Resolved, hub: Hub) -> None:
    """Downloads one file unless it is there; damaged files are deleted and requested once more."""
    from huggingface_hub import hf_hub_download

    ref, path = resolved.ref, resolved.folder / file.name
    if is_whole(path, file):
        return
    if path.is_file():  # a power failure can truncate a written file
        print(f"{ref}: {file.name} in the cache has a wrong size: deleted", file=sys.stderr)
        _delete(path)
    for _ in range(2):
        request(
            lambda: hf_hub_download(
                ref.repository,
                file.source or f"{ref.subfolder}/{file.name}".lstrip("/"),
                revision=resolved.commit,
                endpoint=hub.endpoint,
                cache_dir=hub.repository(ref.repository).parent,
            ),
            ref,
            hub,
        )
        if file.source:
            _link(path, _top(resolved) / file.source)
        if file.sha256 is None or _sha256(path) == file.sha256:
            return
        print(f"{ref}: {file.name} does not match its SHA-256: deleted", file=sys.stderr)
        _delete(path)
    raise JaxmapError(
        f"{ref}: {file.name} came twice with contents that do not match its SHA-256; "
        "a proxy or mirror between here and the Hub may be at fault"
    )


def _top(resolved: Resolved) -> Path:
    """The folder in the cache for the files of the whole repository."""
    inside = resolved.ref.subfolder
    return resolved.folder.parents[inside.count("/")] if inside else resolved.folder


def _link(path: Path, target: Path) -> None:
    """Makes a relative link, as in the Hub's cache, to a file of the same snapshot."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent))


def is_whole(path: Path, file: Remote) -> bool:
    """Whether a file exists and has the size, in bytes, that the Hub reports."""
    return path.is_file() and file.size in (None, path.stat().st_size)


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _delete(path: Path) -> None:
    """Deletes a file of a snapshot and the blobs to which its links point."""
    while path.is_symlink():
        target = path.parent / os.readlink(path)
        path.unlink()
        path = target
    path.unlink(missing_ok=True)


def remember_commit(resolved: Resolved, hub: Hub) -> None:
    """Records the commit of a branch for offline use, once its files are complete."""
    revision = resolved.ref.revision or "main"
    if COMMIT.fullmatch(revision):
        return
    pointer = hub.repository(resolved.ref.repository) / "refs" / revision
    try:
        pointer.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=pointer.parent, delete=False) as stream:
            stream.write(resolved.commit)
        os.replace(stream.name, pointer)
    except OSError as error:  # a read-only cache is sufficient
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise JaxmapError(f"{resolved.ref}: {pointer}: {error.strerror}") from error


def check_space(needed: int, folder: Path, where: str) -> None:
    """Raises JaxmapError if the disk of a folder has less than `needed` bytes free.

    `where` is the name of the model, for the message.
    """
    there = next(path for path in folder.parents if path.exists())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise disk_full(where, there, f"needs {byte_text(needed)}, {byte_text(free)} are free")

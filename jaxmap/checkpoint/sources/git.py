"""Checkpoints in Git clones: a revision's files are read from the object database.

The working tree is not changed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from jaxmap.checkpoint.formats import choose
from jaxmap.checkpoint.formats.index import likely_shards
from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.model_card import CARD, NO_CARD, ModelCard, parse_card
from jaxmap.checkpoint.sources.types import Resolved
from jaxmap.environment import user_cache
from jaxmap.errors import InputError, JaxmapError

LFS_POINTER = b"version https://git-lfs"  # the beginning of the pointer file that Git LFS stores


def resolve(ref: Ref, clone: Path, revision: str) -> Resolved | None:
    """Resolves a revision; None if the clone has no such revision.

    Raises InputError if there is no checkpoint at this revision.
    """
    commit = _git_commit(clone, revision)
    if commit is None:
        return None
    _git_names(clone, commit, ref)
    return Resolved(ref, commit, "git", clone)


def names_of(resolved: Resolved) -> list[str]:
    """The files of a commit that matter."""
    return list(_git_names(resolved.folder, resolved.commit, resolved.ref))


def card_of(resolved: Resolved) -> ModelCard:
    """The model card at a commit; an empty one if there is none."""
    done = _git(resolved.folder, "show", f"{resolved.commit}:{CARD}")
    return NO_CARD if done.returncode else parse_card(done.stdout.decode(errors="replace"))


def read_out(resolved: Resolved) -> Path:
    """Writes the files of a commit to the user's cache, once; Git LFS objects are linked there."""
    where, clone = str(resolved.ref), resolved.folder
    caches = user_cache() / "git"
    folder = caches / "-".join(filter(None, [resolved.commit, resolved.ref.file]))
    objects = _git_names(clone, resolved.commit, resolved.ref)
    # A link dangles when the clone that it was made from is gone: read it out again, from this one.
    if folder.is_dir() and all((folder / name).is_file() for name in objects):
        return folder
    try:
        caches.mkdir(parents=True, exist_ok=True)
        # The folder is built under another name and renamed, so that it is never incomplete.
        with tempfile.TemporaryDirectory(dir=caches, prefix=".new-") as temporary:
            new = Path(temporary) / "files"
            new.mkdir()
            for name, object_id in objects.items():
                _read_object(clone, object_id, new / name, resolved)
            if folder.is_dir():
                shutil.rmtree(folder)
            os.replace(new, folder)
    except OSError as error:
        if folder.is_dir():  # another process was faster
            return folder
        raise JaxmapError(f"{where}: cannot write {folder}: {error.strerror}") from error
    return folder


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    # A partial clone would otherwise download missing objects.
    environment = {**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, env=environment, check=False)
    except FileNotFoundError as error:
        raise JaxmapError(f"{folder}: reading a Git revision needs the git command") from error


def is_clone(folder: Path) -> bool:
    """Whether the folder itself is a clone, not a folder inside a clone."""
    return (folder / ".git").exists()


def _git_commit(folder: Path, revision: str) -> str | None:
    # A clone of a Hub repository has most of its branches only as remote ones.
    for name in (f"refs/heads/{revision}", f"refs/remotes/origin/{revision}", revision):
        done = _git(folder, "rev-parse", "--verify", "--end-of-options", name + "^{commit}")
        if done.returncode == 0:
            return done.stdout.decode().strip()
        if b"dubious ownership" in done.stderr:
            raise InputError(f"{folder}: git refuses a clone of another owner (safe.directory)")
    return None


def revisions(folder: Path) -> list[str]:
    """The names of branches and tags."""
    done = _git(folder, "for-each-ref", "--format=%(refname:lstrip=2)")
    names = done.stdout.decode(errors="replace").split()
    return sorted({name.removeprefix("origin/") for name in names} - {"HEAD"})


def _git_names(folder: Path, commit: str, ref: Ref) -> dict[str, str]:
    """Maps the names of the files that matter at a commit to their object ids; likely shards too,
    for the index is not read."""
    where = str(ref)
    done = _git(folder, "ls-tree", "-z", commit)
    if done.returncode:
        raise InputError(f"{where}: git cannot read it: {_last_line(done.stderr)}")
    objects = {}
    for entry in filter(None, done.stdout.split(b"\0")):
        facts, _, name = entry.partition(b"\t")
        mode, _, object_id = facts.decode().split()
        if mode.startswith("100"):  # a plain file, not a link, folder or submodule
            objects[os.fsdecode(name)] = object_id
    choice = choose(objects, where, ref.file)
    more = likely_shards(objects, choice.index) if choice.index else []
    return {name: objects[name] for name in (*choice.names, *more)}


def _read_object(clone: Path, object_id: str, path: Path, resolved: Resolved) -> None:
    where = str(resolved.ref)
    environment = {**os.environ, "GIT_NO_LAZY_FETCH": "1"}
    command = ["git", "-C", str(clone), "cat-file", "blob", object_id]
    with open(path, "wb") as stream:
        done = subprocess.run(
            command, stdout=stream, stderr=subprocess.PIPE, env=environment, check=False
        )
        stream.flush()
        os.fsync(stream.fileno())
    if done.returncode:
        raise InputError(f"{where}: git cannot read {path.name}: {_last_line(done.stderr)}")
    with open(path, "rb") as stream:
        text = stream.read(1024)
    if not text.startswith(LFS_POINTER):
        return
    pointer = re.search(rb"^oid sha256:(([0-9a-f]{2})([0-9a-f]{2})[0-9a-f]{60})$", text, re.M)
    size = re.search(rb"^size (\d+)$", text, re.M)
    if not pointer or not size:
        raise InputError(f"{where}: {path.name} is a damaged Git LFS pointer")
    oid, first, second = (part.decode() for part in pointer.groups())
    done = _git(clone, "rev-parse", "--path-format=absolute", "--git-common-dir")
    stored = Path(os.fsdecode(done.stdout.rstrip(b"\n"))) / "lfs/objects" / first / second / oid
    if not stored.is_file() or stored.stat().st_size != int(size[1]):
        raise InputError(
            f"{where}: {path.name} is stored in Git LFS and not in this clone; "
            f"run `git lfs fetch origin {resolved.commit}` in {clone}"
        )
    path.unlink()
    path.symlink_to(stored.resolve())


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"

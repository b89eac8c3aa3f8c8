"""Checkpoints on disk: a folder, a subfolder `folder@step1000`, a Hugging Face cache, a Git clone.

A folder has no commit, so the contents of the files that matter stand for one. Of a Git clone the
files of a revision are read out of the object database; its working tree stays as it is.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path

from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.files import (
    CheckpointFiles,
    FileStat,
    Known,
    Resolved,
    choose,
    likely_shards,
    nearest,
    shards,
    stat_files,
)
from jaxmap.errors import InputError, JaxmapError
from jaxmap.progress import progress

_PIECE = 8 << 20  # bytes read at a time
_SHOW_PROGRESS = 1_000_000_000  # bytes from which hashing takes seconds
_LFS_POINTER = b"version https://git-lfs"


def resolve(ref: Ref, known: Known = lambda ref: ()) -> Resolved:
    """Finds the folder or Git commit of a reference and the identity of what is in it."""
    base = Path(ref.name)
    if not base.is_dir():
        raise InputError(f"no such folder: {ref.name}; a Hub model is written org/name")
    if ref.revision is None and not _is_hub_cache(base):
        return _resolve_folder(ref, base, known)
    revision = ref.revision or "main"
    inside = Path(revision)
    if not inside.is_absolute() and ".." not in inside.parts and (base / inside).is_dir():
        return _resolve_folder(ref, base / inside, known)
    if _is_hub_cache(base):
        return _resolve_folder(ref, _snapshot(base, revision), known)
    have = [path.name for path in base.iterdir() if path.is_dir() and path.name[0] != "."]
    if _is_git_top(base):
        commit = _git_commit(base, revision)
        if commit:
            _git_names(base, commit, str(ref))  # says now if it is no checkpoint
            return Resolved(ref, commit, "git", base)
        have += _git_revisions(base)
    raise InputError(
        f"{ref.name}: no subfolder or revision {revision!r} ({nearest(revision, have)})"
    )


def fetch(resolved: Resolved) -> CheckpointFiles:
    """Gives the files of a resolved folder, or reads those of a Git commit into the user's cache.

    JaxmapError when a file of the folder has changed since `resolve`.
    """
    where, folder = str(resolved.ref), resolved.folder
    if resolved.place == "git":
        folder = _read_out(resolved)
        files = stat_files(folder, _names(folder, where), where)
        return CheckpointFiles(resolved.ref, folder, resolved.commit, files)
    if stat_files(folder, [file.name for file in resolved.files], where) != resolved.files:
        raise JaxmapError(f"{where}: files changed after they were looked at; run it again")
    return CheckpointFiles(resolved.ref, folder, resolved.commit, resolved.files)


def content_hash(folder: Path, files: Iterable[FileStat], where: str) -> str:
    """Hashes names and contents: SHA-256 over the lines `name, NUL, SHA-256 of the file`.

    JaxmapError when a file changes while it is read.
    """
    files = sorted(files)
    total = sum(file.size for file in files)
    whole = hashlib.sha256()
    with ExitStack() as stack:
        bar = None
        if total >= _SHOW_PROGRESS:
            options = {"unit_scale": True, "unit_divisor": 1024, "leave": False}
            bar = stack.enter_context(progress(total, f"hashing {where}", "B", **options))
        for file in files:
            digest = hashlib.sha256()
            try:
                with open(folder / file.name, "rb") as stream:
                    while piece := stream.read(_PIECE):
                        digest.update(piece)
                        if bar is not None:
                            bar.update(len(piece))
            except OSError as error:
                raise InputError(f"{where}: cannot read {file.name}: {error.strerror}") from error
            whole.update(f"{file.name}\0{digest.hexdigest()}\n".encode("utf-8", "surrogateescape"))
    if stat_files(folder, [file.name for file in files], where) != tuple(files):
        raise JaxmapError(f"{where}: files change while they are read; run it when writing is done")
    return "sha256:" + whole.hexdigest()


def _resolve_folder(ref: Ref, folder: Path, known: Known) -> Resolved:
    where = str(ref)
    files = stat_files(folder, _names(folder, where), where)
    for signature, commit in known(ref):
        if tuple(FileStat(*file) for file in signature) == files:
            return Resolved(ref, commit, "folder", folder, files)
    for file in files:
        with open(folder / file.name, "rb") as stream:
            if stream.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise InputError(
                    f"{where}: {file.name} is a Git LFS pointer, not the file itself; "
                    "run `git lfs pull` in the folder"
                )
    return Resolved(ref, content_hash(folder, files, where), "folder", folder, files)


def _names(folder: Path, where: str) -> list[str]:
    """Names the files of a folder that matter, the shards of an index with them."""
    try:
        # Not only files: a dangling link is reported by its name, not as absent.
        have = [entry.name for entry in os.scandir(folder) if not entry.is_dir()]
    except OSError as error:
        raise InputError(f"{where}: cannot read the folder: {error.strerror}") from error
    if "config.json" not in have:
        steps = [path.parent.name for path in sorted(folder.glob("*/config.json"))]
        if steps:
            like = f"{where}/{steps[0]}" if "@" in where else f"{where}@{steps[0]}"
            raise InputError(
                f"{where}: no config.json here but in {len(steps)} subfolders; write {like}, "
                "or several as @{" + ",".join(steps[:3]) + "}"
            )
    names = choose(have, where)
    if names[1].endswith(".index.json"):
        names += shards(folder / names[1], where)
    return names


def _is_hub_cache(folder: Path) -> bool:
    return (folder / "snapshots").is_dir() and not (folder / "config.json").exists()


def _snapshot(base: Path, revision: str) -> Path:
    """The snapshot of a revision in a Hugging Face cache folder (refs/, snapshots/, blobs/)."""
    pointer = base / "refs" / revision
    commit = pointer.read_text().strip() if pointer.is_file() else revision
    folder = base / "snapshots" / commit
    if re.fullmatch(r"[0-9a-f]{7,64}", commit) and folder.is_dir():
        return folder
    refs = base / "refs"
    have = [path.relative_to(refs).as_posix() for path in refs.rglob("*") if path.is_file()]
    have += [path.name for path in (base / "snapshots").iterdir()]
    raise InputError(f"{base}: no revision {revision!r} in this cache ({nearest(revision, have)})")


def _git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    # A partial clone would ask the network for what it lacks.
    environment = {**os.environ, "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0"}
    command = ["git", "-C", str(folder), *arguments]
    try:
        return subprocess.run(command, capture_output=True, env=environment, check=False)
    except FileNotFoundError as error:
        raise JaxmapError(f"{folder}: reading a Git revision needs the git command") from error


def _is_git_top(folder: Path) -> bool:
    """Whether the folder itself is a clone; one inside a clone of something else is not."""
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


def _git_revisions(folder: Path) -> list[str]:
    done = _git(folder, "for-each-ref", "--format=%(refname:lstrip=2)")
    names = done.stdout.decode(errors="replace").split()
    return sorted({name.removeprefix("origin/") for name in names} - {"HEAD"})


def _git_names(folder: Path, commit: str, where: str) -> dict[str, str]:
    """Maps the names of the files that matter at a commit to their object ids; likely shards too,
    for the index is not read."""
    done = _git(folder, "ls-tree", "-z", commit)
    if done.returncode:
        raise InputError(f"{where}: git cannot read it: {_last_line(done.stderr)}")
    objects = {}
    for entry in filter(None, done.stdout.split(b"\0")):
        facts, _, name = entry.partition(b"\t")
        mode, _, object_id = facts.decode().split()
        if mode.startswith("100"):  # a plain file, not a link, folder or submodule
            objects[os.fsdecode(name)] = object_id
    names = choose(objects, where)
    if names[1].endswith(".index.json"):
        names += likely_shards(objects, names[1])
    return {name: objects[name] for name in names}


def _read_out(resolved: Resolved) -> Path:
    """Reads the files of a commit into the user's cache, once; Git LFS objects are linked there."""
    where, clone = str(resolved.ref), resolved.folder
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxmap" / "git"
    folder = caches / resolved.commit
    objects = _git_names(clone, resolved.commit, where)
    # A link dangles when the clone that it was made from is gone: read it out again, from this one.
    if folder.is_dir() and all((folder / name).is_file() for name in objects):
        return folder
    try:
        caches.mkdir(parents=True, exist_ok=True)
        # Whole or absent: built beside its place, then renamed.
        with tempfile.TemporaryDirectory(dir=caches, prefix=".new-") as temporary:
            new = Path(temporary) / "files"
            new.mkdir()
            for name, object_id in objects.items():
                _read_object(clone, object_id, new / name, resolved)
            if folder.is_dir():
                shutil.rmtree(folder)
            os.replace(new, folder)
    except OSError as error:
        if folder.is_dir():  # another process was as fast
            return folder
        raise JaxmapError(f"{where}: cannot write {folder}: {error.strerror}") from error
    return folder


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
    if not text.startswith(_LFS_POINTER):
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
            f"{where}: {path.name} is kept in Git LFS and not in this clone; "
            f"run `git lfs fetch origin {resolved.commit}` in {clone}"
        )
    path.unlink()
    path.symlink_to(stored.resolve())


def _last_line(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"

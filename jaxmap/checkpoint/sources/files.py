"""Finds and fetches a checkpoint's files from a folder, a Git clone or the Hub.

`resolve` finds the commit and the file names, which is cheap; `fetch` brings the files to disk.
"""

from __future__ import annotations

from pathlib import Path

from jaxmap.checkpoint.refs import Ref, is_folder
from jaxmap.checkpoint.sources import adapter, folder, gguf, git, hub_tokenizer
from jaxmap.checkpoint.sources.types import CheckpointFiles, Known, Resolved, nearest, stat_files
from jaxmap.errors import InputError


def resolve(ref: Ref, known: Known = lambda ref: ()) -> Resolved:
    """Finds the present commit and files of a reference, without downloading.

    `known(ref)` returns earlier (signature, commit) pairs, so that a folder whose files have not
    changed since is not hashed again. Raises InputError if the checkpoint does not exist,
    JaxmapError if the network fails.
    """
    if is_folder(ref.name):
        found = _resolve_on_disk(ref, known)
        if found.place == "git":
            if adapter.is_adapter(git.names_of(found)):
                config = git.read_out(found) / adapter.CONFIG
                return adapter.with_base(found, config, lambda base: resolve(base, known))
            return gguf.identified(found) if gguf.is_gguf(git.names_of(found)) else found
    else:
        from jaxmap.checkpoint.sources import hub

        found = hub.resolve(ref)
    names = [*(file.name for file in found.files), *(file.name for file in found.remote)]
    if gguf.is_gguf(names):
        return gguf.identified(found)
    if not adapter.is_adapter(names):
        return found
    if found.place == "hub":
        hub.fetch_one(found, adapter.CONFIG)
    return adapter.with_base(
        found, found.folder / adapter.CONFIG, lambda base: resolve(base, known)
    )


def _resolve_on_disk(ref: Ref, known: Known) -> Resolved:
    base = existing_folder(ref)
    if ref.revision is None and not folder.is_hub_cache(base):
        return folder.resolve(ref, base, known)
    revision = ref.revision or "main"
    inside = Path(revision)
    if not inside.is_absolute() and ".." not in inside.parts and (base / inside).is_dir():
        return folder.resolve(ref, base / inside, known)
    if folder.is_hub_cache(base):
        return folder.resolve(ref, folder.snapshot(base, revision), known)
    have = [path.name for path in base.iterdir() if path.is_dir() and path.name[0] != "."]
    if git.is_clone(base):
        if resolved := git.resolve(ref, base, revision):
            return resolved
        have += git.revisions(base)
    raise InputError(
        f"{ref.name}: no subfolder or revision {revision!r} ({nearest(revision, have)})"
    )


def existing_folder(ref: Ref) -> Path:
    """The folder on disk that a reference names, or that its GGUF file is in.

    Raises InputError where there is none, or no GGUF file in it; other names of files are found
    wrong where the folder's own are listed.
    """
    path = Path(ref.name)
    if path.is_file() and not ref.file:
        raise InputError(f"{ref.name}: is a file; name the folder that it is in, {path.parent}")
    base = path.parent if ref.file else path
    lacks_file = bool(ref.file) and not (path.exists() or ref.revision)
    if not base.is_dir() or (lacks_file and not any(base.glob("*.gguf"))):
        is_file = ref.file or path.suffix in (".safetensors", ".bin")
        what = "file" if is_file else "folder"
        cure = "org/name/file.gguf" if ref.file else "org/name"
        raise InputError(f"{ref.name}: no such {what}; a Hub model is written {cure}")
    return base


def fetch(resolved: Resolved, *, check: bool = True) -> CheckpointFiles:
    """Brings a resolved checkpoint to disk: downloads it, or reads it from Git or its folder.

    `check`: whether a model type or an encoding that has no page is refused before a download.
    """
    if resolved.place == "hub":
        from jaxmap.checkpoint.sources import hub

        return hub.fetch(resolved, check=check)
    if resolved.place == "adapter":
        return adapter.fetch(resolved, fetch)
    if resolved.place == "gguf":
        return gguf.fetch(resolved, fetch, hub_tokenizer.tokenizer_of)
    if resolved.place == "folder":
        return folder.fetch(resolved)
    where, read_out = str(resolved.ref), git.read_out(resolved)
    names = folder.names_of(read_out, where, resolved.ref.file)
    files = stat_files(read_out, names, where)
    return CheckpointFiles(resolved.ref, read_out, resolved.commit, files, git.card_of(resolved))

"""Checkpoints on the Hugging Face Hub: from a name to a commit, from a commit to files.

Files are stored in the normal cache (HF_HOME, HF_HUB_CACHE) and requested by commit, so that a
branch that moves meanwhile cannot mix two checkpoints. `hub_download` downloads single files.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path

from jaxmap.checkpoint.checkpoint import Checkpoint
from jaxmap.checkpoint.formats import ALL, QUANTISATION_FILES, choose, models_in
from jaxmap.checkpoint.formats.index import SUFFIX, likely_shards, shards
from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.folder import cached_revisions
from jaxmap.checkpoint.sources.hub_client import COMMIT, Hub, request
from jaxmap.checkpoint.sources.hub_download import (
    check_space,
    download,
    is_whole,
    remember_commit,
)
from jaxmap.checkpoint.sources.hub_gguf_header import check_start
from jaxmap.checkpoint.sources.model_card import CARD, NO_CARD, card_of, read_card
from jaxmap.checkpoint.sources.types import (
    CheckpointFiles,
    Remote,
    Resolved,
    nearest,
    stat_files,
)
from jaxmap.corpus.tokenizer_files import has_vocabulary, tokenizer_files
from jaxmap.errors import InputError, JaxmapError

_TIMEOUT = 30.0  # seconds to wait for the Hub's answer about a repository


def resolve(ref: Ref, hub: Hub | None = None) -> Resolved:
    """Finds the commit and the files of a model by one request, or in the cache when offline.

    Raises InputError for a model that is missing, gated, private or has no weights, and JaxmapError
    if the network fails.
    """
    hub = hub or Hub()
    if hub.is_offline:
        return _resolve_offline(ref, hub)
    commit, listed, card_data = listing(ref, hub)
    if ref.subfolder:
        listed = _inside(listed, ref)
    choice = choose(listed, str(ref), ref.file)
    more = likely_shards(listed, choice.index) if choice.index else []
    names = [*choice.names, *more]
    folder = hub.repository(ref.repository) / "snapshots" / commit / ref.subfolder
    return Resolved(
        ref,
        commit,
        "hub",
        folder,
        remote=tuple(listed[name] for name in names),
        card=NO_CARD if card_data is None else card_of(card_data),
        has_card=CARD in listed and card_data is None,
    )


def fetch(resolved: Resolved, hub: Hub | None = None, *, check: bool = True) -> CheckpointFiles:
    """Downloads and checks the files that the cache lacks; resumes interrupted downloads.

    `check`: whether an unsupported model is refused before its weights are downloaded.
    Raises InputError if an index names files that the repository lacks, and JaxmapError if the
    network fails, the disk is full, or contents do not match their hash.
    """
    hub = hub or Hub()
    where, folder = str(resolved.ref), resolved.folder
    remote = {file.name: file for file in resolved.remote}
    names = list(remote)
    if index := next((name for name in remote if name.endswith(SUFFIX)), None):
        download(remote[index], resolved, hub)
        needed = shards(folder / index, where)
        if lacking := [name for name in needed if name not in remote]:
            raise InputError(f"{where}: {index} names {lacking[0]}, which the repository lacks")
        beside = set(likely_shards(remote, index)) | set(needed)
        names = [name for name in names if name not in beside] + needed
    missing = [remote[name] for name in names if not is_whole(folder / name, remote[name])]
    check_space(sum(file.size or 0 for file in missing), folder, where)
    settings = {"config.json", *QUANTISATION_FILES}
    for file in (file for file in missing if file.name in settings):
        download(file, resolved, hub)
    if check and "config.json" in names and missing:  # an unsupported model is not downloaded
        Checkpoint(folder).check_readable()
    for file in (file for file in missing if file.name not in settings):
        if file.name.endswith(".gguf"):
            check_start(resolved, file, hub.endpoint)
        download(file, resolved, hub)
    card = resolved.card
    if resolved.has_card and _is_copy(folder, names):
        # The card is needed for copies only, and no score depends on it.
        with contextlib.suppress(JaxmapError):
            download(Remote(CARD, None, None), resolved, hub)
        card = read_card(folder)
    remember_commit(resolved, hub)
    signature = stat_files(folder, names, where)
    return CheckpointFiles(resolved.ref, folder, resolved.commit, signature, card)


def _is_copy(folder: Path, names: Collection[str]) -> bool:
    """Whether the fetched model is a copy of another model, according to its files."""
    if "config.json" not in names:  # an adapter, a GGUF
        return True
    return bool(Checkpoint(folder).config().peek("quantization_config"))


def _inside(listed: Mapping[str, Remote], ref: Ref) -> dict[str, Remote]:
    """The files of a subfolder of a repository, by their names in it."""
    start = f"{ref.subfolder}/"
    found = {
        name.removeprefix(start): file._replace(name=name.removeprefix(start))
        for name, file in listed.items()
        if name.startswith(start)
    }
    if not found:
        have = {name.rpartition("/")[0] for name in listed if name.endswith("/config.json")}
        raise InputError(
            f"{ref}: {ref.repository} has no folder {ref.subfolder!r} "
            f"({nearest(ref.subfolder, have)}); on this machine there is none of this name either"
        )
    if not has_vocabulary(name for name in found if "/" not in name):
        # Many checkpoints in one repository share the tokenizer at its top.
        shared = tokenizer_files(name for name in listed if "/" not in name)
        found = {name: listed[name]._replace(source=name) for name in shared} | found
    return found


def _resolve_offline(ref: Ref, hub: Hub) -> Resolved:
    where, repository = str(ref), hub.repository(ref.repository)
    revision = ref.revision or "main"
    pointer = repository / "refs" / revision
    commit = pointer.read_text().strip() if pointer.is_file() else revision
    folder = repository / "snapshots" / commit / ref.subfolder
    advice = "unset HF_HUB_OFFLINE to download it"
    if not COMMIT.fullmatch(commit) or not folder.is_dir():
        have = cached_revisions(repository)
        found = f" ({nearest(revision, have)})" if have else ""
        raise InputError(
            f"{where}: offline (HF_HUB_OFFLINE) and not in the cache {repository.parent}{found}; "
            + advice
        )
    # A link without its blob counts as missing.
    have = [path.name for path in folder.iterdir() if path.is_file()]
    weights = {name for one in ALL for name in one.looks_for}
    configs = {one.config_file for one in ALL}
    for name in (*sorted(configs), *sorted(weights)):
        if (folder / name).is_symlink() and name not in have:
            raise InputError(f"{where}: offline and {name} is missing in {folder}; {advice}")
    if not models_in(have) and (not configs & set(have) or not weights & set(have)):
        lacking = "weights are" if configs & set(have) else "config.json is"
        raise InputError(f"{where}: offline and {lacking} missing in {folder}; {advice}")
    choice = choose(have, where, ref.file)
    names = [*choice.names, *(shards(folder / choice.index, where) if choice.index else [])]
    if lacking_files := [name for name in names if name not in have]:
        lacking = lacking_files[0]
        raise InputError(f"{where}: offline and {lacking} is missing in {folder}; {advice}")
    return Resolved(ref, commit, "folder", folder, stat_files(folder, names, where))


def fetch_one(resolved: Resolved, name: str, hub: Hub | None = None) -> None:
    """Downloads one file of a resolved model; raises the errors of `fetch`."""
    [file] = (file for file in resolved.remote if file.name == name)
    if not is_whole(resolved.folder / name, file):
        download(file, resolved, hub or Hub())


def revisions(ref: Ref, hub: Hub | None = None) -> list[str]:
    """The branches and tags of a model; offline, those of which the cache has a snapshot.

    Needs one request. Raises the errors of `resolve`.
    """
    hub = hub or Hub()
    if hub.is_offline:
        return cached_revisions(hub.repository(ref.repository))
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.endpoint)
    refs = request(lambda: api.list_repo_refs(ref.repository), ref, hub)
    return [known.name for known in (*refs.branches, *refs.tags)]


def repositories(organisation: str, hub: Hub | None = None) -> list[str]:
    """The models of an organisation or user. Raises the errors of `resolve`, also when offline."""
    hub = hub or Hub()
    ref = Ref(organisation)
    if hub.is_offline:
        raise InputError(f"{organisation}: offline (HF_HUB_OFFLINE), so its models are not known")
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.endpoint)
    return request(lambda: [one.id for one in api.list_models(author=organisation)], ref, hub)


def listing(ref: Ref, hub: Hub) -> tuple[str, dict[str, Remote], dict | None]:
    """A model's commit, all its files by name, and the data of its card if the Hub has them.

    One request; raises as `resolve` does.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=hub.endpoint)
    info = request(
        lambda: api.model_info(
            ref.repository, revision=ref.revision, files_metadata=True, timeout=_TIMEOUT
        ),
        ref,
        hub,
    )
    if not info.sha or not COMMIT.fullmatch(info.sha):
        raise JaxmapError(f"{ref}: the Hub's answer names no commit; check HF_ENDPOINT")
    files = {
        file.rfilename: Remote(file.rfilename, file.size, file.lfs.sha256 if file.lfs else None)
        for file in info.siblings or ()
    }
    return info.sha, files, info.card_data.to_dict() if info.card_data else None


def fetch_files(ref: Ref, commit: str, files: Collection[Remote], hub: Hub) -> Path:
    """Downloads some files of a model; returns the folder that has them."""
    folder = hub.repository(ref.repository) / "snapshots" / commit
    resolved = Resolved(ref, commit, "hub", folder)
    for file in files:
        download(file, resolved, hub)
    remember_commit(resolved, hub)
    return folder


def fetch_config(ref: Ref, hub: Hub | None = None) -> Path:
    """Downloads only a model's config.json; returns its folder.

    Raises the errors of `resolve` and `fetch`.
    """
    hub = hub or Hub()
    resolved = resolve(ref, hub)
    fetch_one(resolved, "config.json", hub)
    return resolved.folder

"""An adapter and its base model as one checkpoint: a folder of links to the files of both.

The base is a reference of its own, so it may be on the Hub, in a folder, or stored quantised. If
the adapter has a tokenizer, it replaces that of the base.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from jaxmap.architectures.config import read_json
from jaxmap.checkpoint.checkpoint import ADAPTER
from jaxmap.checkpoint.formats.adapter import CONFIG
from jaxmap.checkpoint.lora import read_adapter
from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.model_card import ModelCard
from jaxmap.checkpoint.sources.types import CheckpointFiles, Resolved
from jaxmap.corpus.tokenizer_files import tokenizer_files
from jaxmap.environment import user_cache
from jaxmap.errors import InputError, JaxmapError, without_name


def is_adapter(names: list[str]) -> bool:
    """Whether the selected files of a checkpoint are those of an adapter."""
    return CONFIG in names and "config.json" not in names


def with_base(own: Resolved, config: Path, resolve: Callable[[Ref], Resolved]) -> Resolved:
    """Resolves the base of an adapter; returns both as one checkpoint.

    Args:
      own: the adapter without its base.
      config: the path of its adapter_config.json.
      resolve: resolves the base's reference.

    Raises InputError if the adapter names no base, or the base does not exist.
    """
    facts = read_json(config)
    name, revision = facts.get("base_model_name_or_path"), facts.get("revision")
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"{own.ref}: {CONFIG} names no base model (base_model_name_or_path)")
    if revision is not None and not isinstance(revision, str):
        raise InputError(f"{own.ref}: {CONFIG}: revision = {revision!r}: must be a name")
    read_adapter(config.parent, {})  # an unsupported adapter, or its base, is not downloaded
    ref = Ref(os.path.expanduser(name), revision or None)
    try:
        base = resolve(ref)
    except InputError as error:
        reason = without_name(error, str(ref), ref.name)
        raise InputError(f"{own.ref}: the adapter's base {ref}: {reason}") from error
    if base.place == "adapter":
        raise InputError(f"{own.ref}: the adapter's base {ref} is an adapter itself; merge that")
    both = hashlib.sha256(f"{own.commit}\n{base.commit}".encode()).hexdigest()
    folder = user_cache() / "adapters" / both
    return Resolved(own.ref, f"sha256:{both}", "adapter", folder, parts=(own, base))


def fetch(resolved: Resolved, fetch_part: Callable[[Resolved], CheckpointFiles]) -> CheckpointFiles:
    """Fetches both and links their files into one folder of the user's cache."""
    own, base = (fetch_part(part) for part in resolved.parts)
    links = {file.name: base.folder / file.name for file in base.files}
    tokenizer = tokenizer_files(file.name for file in own.files)
    if any(name != "tokenizer_config.json" for name in tokenizer):
        links = {name: path for name, path in links.items() if not tokenizer_files([name])}
        links |= {name: own.folder / name for name in tokenizer}
    links |= {f"{ADAPTER}/{file.name}": own.folder / file.name for file in own.files}
    folder = resolved.folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # The folder is built under another name and renamed, so that it is never incomplete. Old
        # links may be dangling.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as temporary:
            new = Path(temporary) / "files"
            (new / ADAPTER).mkdir(parents=True)
            for name, path in links.items():
                (new / name).symlink_to(path.absolute())
            if folder.is_dir():
                shutil.rmtree(folder)
            os.replace(new, folder)
    except OSError as error:
        if not folder.is_dir():  # otherwise another process was faster
            raise JaxmapError(f"{resolved.ref}: cannot write {folder}: {error}") from error
    # Files of two sources have no common signature, so they are checked again each time.
    card = ModelCard((str(resolved.parts[1].ref),), "adapter")
    return CheckpointFiles(resolved.ref, folder, resolved.commit, (), card)

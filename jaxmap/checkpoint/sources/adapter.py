"""An adapter and the base that it names, as one checkpoint: a folder of links to both.

The base is a reference of its own, so it may be on the Hub, in a folder, or stored quantised. The
adapter's own tokenizer, where it has one, stands for the base's.
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
from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.card import Card
from jaxmap.checkpoint.sources.types import CheckpointFiles, Resolved
from jaxmap.corpus.tokenizer_files import tokenizer_files
from jaxmap.environment import user_cache
from jaxmap.errors import InputError, JaxmapError


def is_adapter(names: list[str]) -> bool:
    """Whether the chosen files of a checkpoint are an adapter's."""
    return CONFIG in names and "config.json" not in names


def with_base(own: Resolved, config: Path, resolve: Callable[[Ref], Resolved]) -> Resolved:
    """The adapter with its base.

    Args:
      own: the adapter alone.
      config: its adapter_config.json, on disk.
      resolve: finds the base.

    Raises InputError for an adapter that names no base, or one that is not there.
    """
    facts = read_json(config)
    name, revision = facts.get("base_model_name_or_path"), facts.get("revision")
    if not isinstance(name, str) or not name or "\0" in name:
        raise InputError(f"{own.ref}: {CONFIG} names no base model (base_model_name_or_path)")
    if revision is not None and not isinstance(revision, str):
        raise InputError(f"{own.ref}: {CONFIG}: revision = {revision!r}: must be a name")
    ref = Ref(os.path.expanduser(name), revision or None)
    try:
        base = resolve(ref)
    except InputError as error:
        raise InputError(f"{own.ref}: the adapter's base {ref}: {error}") from error
    if base.place == "adapter":
        raise InputError(f"{own.ref}: the adapter's base {ref} is an adapter itself; merge that")
    both = hashlib.sha256(f"{own.commit}\n{base.commit}".encode()).hexdigest()
    folder = user_cache() / "adapters" / both
    return Resolved(own.ref, f"sha256:{both}", "adapter", folder, parts=(own, base))


def fetch(resolved: Resolved, fetch_part: Callable[[Resolved], CheckpointFiles]) -> CheckpointFiles:
    """Brings both to disk and links them into one folder of the user's cache."""
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
        # Whole or absent: built beside its place, then renamed. Old links may lead nowhere.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as temporary:
            new = Path(temporary) / "files"
            (new / ADAPTER).mkdir(parents=True)
            for name, path in links.items():
                (new / name).symlink_to(path.absolute())
            if folder.is_dir():
                shutil.rmtree(folder)
            os.replace(new, folder)
    except OSError as error:
        if not folder.is_dir():  # else another process was as fast
            raise JaxmapError(f"{resolved.ref}: cannot write {folder}: {error}") from error
    # Files of two places have no one signature: they are looked at again each time.
    card = Card((str(resolved.parts[1].ref),), "adapter")
    return CheckpointFiles(resolved.ref, folder, resolved.commit, (), card)

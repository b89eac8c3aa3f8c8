"""GGUF files as checkpoints: a folder of the user's cache with config.json, links and a tokenizer.

config.json says what the metadata say. The tokenizer is that of files beside the model, else of the
base model's repository where its tokens are those of the metadata, else made from the metadata.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from absl import logging

from jaxmap.architectures.config import Config
from jaxmap.architectures.specs import spec_of
from jaxmap.checkpoint.formats.gguf import SUFFIX, parts_of
from jaxmap.checkpoint.gguf.blocks import dtype_of
from jaxmap.checkpoint.gguf.config import config_of
from jaxmap.checkpoint.gguf.header import Header, TruncatedError, parse, read_header
from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources.model_card import ModelCard
from jaxmap.checkpoint.sources.types import CheckpointFiles, Resolved
from jaxmap.corpus import gguf_tokenizer
from jaxmap.corpus.tokenizer_files import tokenizer_files
from jaxmap.corpus.tokens import load_tokenizer
from jaxmap.environment import user_cache
from jaxmap.errors import JaxmapError

BESIDE = "files beside the model"
METADATA = "the file's metadata"
_REPOSITORY = re.compile(r"(?:https?://[^/]+/)?([\w.-]+/[\w.-]+)/?")

Base = Callable[[Ref], tuple[Path, str]]


def is_gguf(names: list[str]) -> bool:
    """Whether the chosen files of a checkpoint are a GGUF and what is beside it."""
    return any(name.endswith(SUFFIX) for name in names)


def identified(own: Resolved) -> Resolved:
    """A GGUF by its own contents: a repository's commit stands for all files in it.

    Of a folder this is the hash that it has; on the Hub the same where the listing has hashes.
    """
    names = [*(file.name for file in own.files), *(file.name for file in own.remote)]
    hashes = {file.name: file.sha256 for file in own.remote}
    if own.commit.startswith("sha256:"):
        commit = own.commit
    elif hashes and all(hashes.values()):
        lines = "".join(f"{name}\0{hashes[name]}\n" for name in sorted(hashes))
        commit = "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
    else:
        lines = "\n".join([own.commit, own.ref.file, *sorted(names)])
        commit = "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
    return Resolved(own.ref, commit, "gguf", user_cache() / "gguf", parts=(own,), card=own.card)


def check(header: Header, *, is_here: bool = True) -> dict[str, Any]:
    """The config.json of a file; raises InputError if the header shows that it cannot be read.

    is_here: whether the rest of the file is on disk: some tensors are settings.
    """
    config = config_of(header, is_here=is_here)
    spec_of(Config(dict(config), f"{header.file}: as config.json"))
    for name, info in header.tensors.items():
        dtype_of(info, name)
    return config


def fetch(
    resolved: Resolved, fetch_part: Callable[[Resolved], CheckpointFiles], base: Base
) -> CheckpointFiles:
    """Brings the files to disk and makes the checkpoint's folder.

    Args:
      resolved: as `identified` gives it.
      fetch_part: brings the files themselves to disk.
      base: the tokenizer files of a model on the Hub, in a folder, and that model's commit.

    Raises InputError for a file that cannot be read, and for a tokenizer that cannot be made.
    """
    own = fetch_part(resolved.parts[0])
    names = [file.name for file in own.files]
    # A file that was named has its parts beside it, and perhaps other models.
    first = min(name for name in names if name.endswith(SUFFIX))
    header = read_header(own.folder / first)
    config = check(header)
    links = {name: own.folder / name for name in parts_of(first)}
    beside = tokenizer_files(names)
    made: Mapping[str, bytes] = {}
    if any(name != "tokenizer_config.json" for name in beside):
        source = BESIDE
        links |= {name: own.folder / name for name in beside}
    else:
        found, source = _of_base(own, header, base)
        links |= found
        if not found:
            made = gguf_tokenizer.files(header.metadata, str(header.file))
    folder = _folder(resolved, config, links, made, source)
    rule = load_tokenizer(folder).special_rule
    logging.info("%s: tokenizer of %s, special tokens: %s", own.ref, source, rule)
    return dataclasses.replace(own, folder=folder, commit=resolved.commit, tokenizer=source)


def _of_base(own: CheckpointFiles, header: Header, base: Base) -> tuple[dict[str, Path], str]:
    """The tokenizer files of the base model, and what to call them; none where it cannot be
    reached, or has other tokens than the file."""
    for name in _bases(own.card, header):
        try:
            folder, commit = base(Ref(name))
            names = tokenizer_files(path.name for path in folder.iterdir())
            vocabulary = load_tokenizer(folder).vocabulary()
        except (JaxmapError, OSError) as error:
            logging.info("%s: the tokenizer of %s is not used: %s", own.ref, name, error)
            continue
        if reason := gguf_tokenizer.differs(header.metadata, vocabulary):
            logging.info("%s: the tokenizer of %s is not used: %s", own.ref, name, reason)
            continue
        return {n: folder / n for n in names}, f"{name}@{commit[:12]}"
    return {}, METADATA


def _bases(card: ModelCard, header: Header) -> list[str]:
    """Models on the Hub whose tokenizer may be the file's: of the card, then of the metadata."""
    named = [header.metadata.get("general.base_model.0.repo_url"),
             header.metadata.get("general.source.repo_url")]  # fmt: skip
    all_ = [*card.base_models, *(one for one in named if isinstance(one, str))]
    found = (_REPOSITORY.fullmatch(one) for one in all_)
    return list(dict.fromkeys(match[1] for match in found if match))


def _folder(
    resolved: Resolved,
    config: Mapping[str, Any],
    links: Mapping[str, Path],
    made: Mapping[str, bytes],
    source: str,
) -> Path:
    """The checkpoint's folder: one for all that it holds, so that none is changed in use."""
    contents = {
        **made,
        **{name: os.fsencode(path.absolute()) for name, path in links.items()},
        "config.json": json.dumps(config, indent=1).encode(),
    }
    facts = [f"{name}\0{hashlib.sha256(contents[name]).hexdigest()}\n" for name in sorted(contents)]
    key = hashlib.sha256("".join([resolved.commit, source, *facts]).encode("utf-8", "replace"))
    folder = resolved.folder / key.hexdigest()
    if folder.is_dir() and all((folder / name).is_file() for name in contents):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Whole or absent: built beside its place, then renamed.
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as temporary:
            new = Path(temporary) / "files"
            new.mkdir()
            for name, path in links.items():
                (new / name).symlink_to(path.absolute())
            for name in ("config.json", *made):
                (new / name).write_bytes(contents[name])
            if folder.is_dir():
                shutil.rmtree(folder)
            os.replace(new, folder)
    except OSError as error:
        if not folder.is_dir():  # else another process was as fast
            raise JaxmapError(f"{resolved.ref}: cannot write {folder}: {error}") from error
    return folder


def refuse_early(content: bytes, path: Path, size: int) -> bool:
    """Checks a file by its first bytes, before the rest is downloaded; False where they are too
    few to tell."""
    try:
        check(parse(content, path, size), is_here=False)
    except TruncatedError:
        return False
    return True

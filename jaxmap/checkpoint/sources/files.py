"""Which files make a checkpoint, and where they are: a folder, a Git clone or the Hub.

`resolve` says cheaply what would be scored (a commit and the files), `fetch` brings it to disk.
"""

from __future__ import annotations

import difflib
import fnmatch
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from jaxmap.checkpoint.refs import Ref, is_folder
from jaxmap.errors import InputError

# In order of preference; one of them, never two.
WEIGHTS = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab*.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "*.tiktoken",
)
_OTHER_FORMATS = {
    "flax_model*": "Flax",
    "tf_model*": "TensorFlow",
    "*.gguf": "GGUF",
    "*.onnx": "ONNX",
    "adapter_model*": "adapter (LoRA)",
    "consolidated*": "original, unconverted",
    "rust_model.ot": "Rust",
    "model.*.safetensors": "variant",
    "pytorch_model.*.bin": "variant",
}


class FileStat(NamedTuple):
    """What tells, without reading it, that a file is the one seen before (times in ns)."""

    name: str
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Remote(NamedTuple):
    """A file to download: bytes and SHA-256 as far as the Hub states them."""

    name: str
    size: int | None
    sha256: str | None


@dataclass(frozen=True)
class Resolved:
    """A reference made definite, nothing fetched yet.

    `commit` identifies the contents: a Git commit (Hub, Git clone) or "sha256:..." (folder).
    `files` holds the stat signature where the files already lie in `folder`, else it is empty.
    """

    ref: Ref
    commit: str
    place: Literal["folder", "git", "hub"]
    folder: Path  # the checkpoint; for "git" the clone; for "hub" where it will be
    files: tuple[FileStat, ...] = ()
    remote: tuple[Remote, ...] = ()

    @property
    def num_bytes(self) -> int:
        """Bytes of the files, in place or to download, as far as known."""
        return sum(file.size for file in self.files) + sum(file.size or 0 for file in self.remote)


@dataclass(frozen=True)
class CheckpointFiles:
    """A checkpoint on disk: `folder` holds config.json, weights and tokenizer files."""

    ref: Ref
    folder: Path
    commit: str
    files: tuple[FileStat, ...]


Signature = Sequence[Sequence]  # of FileStat, or the lists that JSON makes of them
Known = Callable[[Ref], Iterable[tuple[Signature, str]]]


def resolve(ref: Ref, known: Known = lambda ref: ()) -> Resolved:
    """Finds what a reference means now: its commit and files; downloads nothing.

    `known(ref)` gives earlier (signature, commit) pairs, so that a folder whose files have not been
    touched since is not hashed again. InputError when there is no such checkpoint, JaxmapError when
    the network fails.
    """
    if is_folder(ref.name):
        from jaxmap.checkpoint.sources import local

        return local.resolve(ref, known)
    from jaxmap.checkpoint.sources import hub

    return hub.resolve(ref)


def fetch(resolved: Resolved) -> CheckpointFiles:
    """Brings a resolved checkpoint to disk: downloads, reads out of Git, or finds it unchanged."""
    if resolved.place == "hub":
        from jaxmap.checkpoint.sources import hub

        return hub.fetch(resolved)
    from jaxmap.checkpoint.sources import local

    return local.fetch(resolved)


def choose(names: Collection[str], where: str) -> list[str]:
    """Chooses, among the file names of a checkpoint, those that matter: config.json first, then
    the weights (one file, or an index), then the tokenizer's. Shards: see `shards`."""
    top = {name for name in names if "/" not in name}
    if "config.json" not in top:
        raise InputError(f"{where}: no config.json, so it is no Hugging Face checkpoint")
    weights = next((name for name in WEIGHTS if name in top), None)
    if weights is None:
        raise InputError(f"{where}: {_no_weights(names)}")
    tokenizer = {name for pattern in TOKENIZER for name in fnmatch.filter(top, pattern)}
    return ["config.json", weights, *sorted(tokenizer)]


def _no_weights(names: Collection[str]) -> str:
    looked = "model.safetensors, pytorch_model.bin or their .index.json"
    shards = sorted(name for name in names if re.fullmatch(r"[\w.]+-\d+-of-\d+\.\w+", name))
    if shards:
        return f"has shards ({shards[0]}, ...) but no index (looked for {looked})"
    for name in sorted(names):
        for pattern, kind in _OTHER_FORMATS.items():
            if fnmatch.fnmatch(name.rsplit("/", 1)[-1], pattern):
                return f"has only {kind} weights ({name}); looked for {looked}"
    return f"no weights (looked for {looked})"


def likely_shards(names: Iterable[str], index: str) -> list[str]:
    """Guesses the shards of an index from the names beside it, the index itself unread: those
    named in the usual way, else every file of its format."""
    stem, _, suffix = index.removesuffix(".index.json").rpartition(".")
    usual = re.compile(rf"{stem}-\d+-of-\d+\.{suffix}")
    beside = [name for name in names if "/" not in name and name.endswith("." + suffix)]
    return [name for name in beside if usual.fullmatch(name)] or beside


def shards(index: Path, where: str) -> list[str]:
    """Reads the names of the weight files from an index (`*.index.json`), sorted."""
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        plain = all(name and name == os.path.basename(name) for name in names)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{where}: {index.name} is not a weight index ({error!r})") from error
    if not names or not plain:
        raise InputError(f"{where}: {index.name} names no files, or files outside the folder")
    return names


def stat_files(folder: Path, names: Iterable[str], where: str) -> tuple[FileStat, ...]:
    """Takes the stat signature of files, links followed, ordered by name."""
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
    """Names the revisions most like the one wanted, for a message; `step7` is near `step8`."""

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

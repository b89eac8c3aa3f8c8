"""The index of a checkpoint whose weights are in several files: `*.index.json`."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path

from jaxmap.errors import InputError

SUFFIX = ".index.json"


def likely_shards(names: Iterable[str], index: str) -> list[str]:
    """Guesses the shards of an index, without reading it, from the other names in the folder.

    These are the files with the usual names of shards, or else every file of the format.
    """
    stem, _, suffix = index.removesuffix(SUFFIX).rpartition(".")
    usual = re.compile(rf"{re.escape(stem)}-\d+-of-\d+\.{re.escape(suffix)}")
    beside = [name for name in names if "/" not in name and name.endswith("." + suffix)]
    return [name for name in beside if usual.fullmatch(name)] or beside


def read_index(index: Path, where: str) -> dict[str, str]:
    """Reads the file of each tensor from an index.

    Raises InputError, which names `where`, for anything but names of files in the same folder.
    """
    try:
        shard_of = json.loads(index.read_bytes())["weight_map"]
        names = set(shard_of.values())
        plain = all(name and name == os.path.basename(name) and "\0" not in name for name in names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{where}: {index.name} is not a weight index ({error!r})") from error
    if not names or not plain:
        raise InputError(f"{where}: {index.name} names no files, or files outside the folder")
    return shard_of


def shards(index: Path, where: str) -> list[str]:
    """The names of the files with the weights, sorted; raises the errors of `read_index`."""
    return sorted(set(read_index(index, where).values()))

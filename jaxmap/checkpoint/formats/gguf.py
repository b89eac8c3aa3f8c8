"""GGUF: llama.cpp's files, of which one (or one in several parts) holds a whole model.

A checkpoint's folder has the file, or links to it, and a config.json that its metadata stand for:
`jaxmap.checkpoint.sources.gguf` makes it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from pathlib import Path

from jaxmap.architectures.config import Config
from jaxmap.architectures.registry import family_of
from jaxmap.architectures.specs import spec_of
from jaxmap.checkpoint.formats.base import Format, Stored, behind_link
from jaxmap.checkpoint.gguf.header import SPLIT, Header, read_headers
from jaxmap.errors import InputError

SUFFIX = ".gguf"


def models_in(names: Collection[str]) -> list[str]:
    """The models among file names: of a split one its first part; projectors are none."""
    found = []
    for name in sorted(names):
        if not name.endswith(SUFFIX) or name.rsplit("/", 1)[-1].startswith("mmproj"):
            continue
        split = SPLIT.fullmatch(name)
        if split is None or int(split["no"]) == 1:
            found.append(name)
    return found


def parts_of(name: str) -> list[str]:
    """All files of a model, by the name of the first."""
    split = SPLIT.fullmatch(name)
    if split is None:
        return [name]
    count = int(split["of"])
    return [f"{split['stem']}-{n:05d}-of-{split['of']}{SUFFIX}" for n in range(1, count + 1)]


class Gguf(Format):
    """A GGUF file, in one or several parts; config.json and tokenizer come from its metadata."""

    name = "GGUF"
    looks_for: tuple[str, ...] = ()

    def choose(self, names: Collection[str]) -> str | None:
        """The first whole model among the names, or None."""
        return next(iter(models_in(names)), None)

    def files(self, folder: Path, chosen: str) -> list[str]:
        """The names of all parts; raises InputError where one is missing."""
        names = parts_of(chosen)
        for name in names:
            if not (folder / name).exists():
                raise InputError(f"{folder / chosen}: part {name} is missing; download it again")
        return names

    def file_type(self, folder: Path, chosen: str) -> str:
        """The quantisation of the file, such as "Q4_K_M"."""
        return self._header(folder, chosen).file_type

    def named(self, folder: Path, chosen: str) -> Path:
        """The GGUF file itself, where the folder has a link to it."""
        return behind_link(folder / chosen)

    @property
    def label(self) -> str:
        """ "gguf"."""
        return "gguf"

    def open(self, folder: Path, chosen: str, stack: contextlib.ExitStack) -> Mapping[str, Stored]:
        """The tensors under Hugging Face's names, decoded when they are read."""
        from jaxmap.checkpoint.gguf.tensors import tensors_of

        config = Config(self.config(folder), str(folder / "config.json"))
        family, spec = family_of(config), spec_of(config)
        return tensors_of(self._header(folder, chosen), family.rows(spec), spec)

    def open_file(self, path: Path, stack: contextlib.ExitStack) -> Mapping[str, Stored]:
        """Not supported: a single part of a model does not say how its tensors are to be read."""
        raise NotImplementedError  # a part of a model says nothing by itself

    def _header(self, folder: Path, chosen: str) -> Header:
        return read_headers([behind_link(folder / name) for name in self.files(folder, chosen)])

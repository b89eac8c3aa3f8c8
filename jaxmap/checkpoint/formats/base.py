"""What a format of released checkpoints has to say: which files are its own, and what they hold."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.architectures.config import read_json
from jaxmap.checkpoint.formats.index import SUFFIX, shards
from jaxmap.errors import InputError
from jaxmap.model.encodings.numbers import FLOATS


@dataclass(frozen=True)
class Stored:
    """A tensor of a checkpoint, not read yet.

    Fields:
      file: where it is, for messages.
      shape: of the array that `read` gives.
      dtype: of that array; None where NumPy has no such numbers.
      dtype_name: as the file names it.
      read: gives it in memory.
      mapped: gives it without reading where it can: what is not touched stays on disk.
      parts: the tensors that it is decoded from; none where it is stored as it is.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: np.dtype | None
    dtype_name: str
    read: Callable[[], np.ndarray]
    mapped: Callable[[], np.ndarray]
    parts: tuple[Stored, ...] = ()

    @property
    def is_float(self) -> bool:
        """Whether it can be a weight as it is: float64, float32, float16 or bfloat16."""
        return self.dtype in FLOATS

    @property
    def float_dtype(self) -> np.dtype:
        """In which a weight is taken up: float64 as float32, the widest here, others as stored."""
        assert self.dtype is not None
        return np.dtype(np.float32) if self.dtype == np.float64 else self.dtype

    @property
    def num_bytes(self) -> int:
        """Bytes of the array; 0 where its numbers are of an unknown kind."""
        return 0 if self.dtype is None else int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def file_bytes(self) -> int:
        """Bytes that it takes up in files."""
        return sum(part.file_bytes for part in self.parts) if self.parts else self.num_bytes


class Format(ABC):
    """One form in which checkpoints are released; a class in a file of this package for each.

    Class attributes:
      name: in messages.
      config_file: what must be beside the weights.
      looks_for: names of the file with the weights or of an index of several, in order of
        preference; one of them is read, never two.
    """

    name: str
    config_file: str = "config.json"
    looks_for: tuple[str, ...]

    def choose(self, names: Collection[str]) -> str | None:
        """The file with the weights, or their index, among a checkpoint's; None if there is none.

        Only names are known: nothing is downloaded yet.
        """
        return next((name for name in self.looks_for if name in names), None)

    def files(self, folder: Path, chosen: str) -> list[str]:
        """All files with weights, once `chosen` is on disk.

        Raises InputError for an index that cannot be read or that names a file that is not there.
        """
        if not chosen.endswith(SUFFIX):
            return [chosen]
        names = shards(folder / chosen, str(folder))
        for name in names:
            if not (folder / name).exists():
                raise InputError(f"{folder / chosen}: shard {name} is missing; download it again")
        return names

    def config(self, folder: Path) -> dict[str, Any]:
        """The settings of the architecture, with the keys of Hugging Face's config.json."""
        return read_json(folder / "config.json")

    def open(self, folder: Path, chosen: str, stack: contextlib.ExitStack) -> Mapping[str, Stored]:
        """Name -> tensor, under Hugging Face's names; files stay open as long as the stack.

        The files count, as in transformers: what an index says that is not so is not needed.
        Raises InputError for files that are truncated, corrupt, executable, or that hold a tensor
        twice.
        """
        tensors: dict[str, Stored] = {}
        for file in self.files(folder, chosen):
            for name, stored in self.open_file(folder / file, stack).items():
                if name in tensors:
                    where = tensors[name].file.name
                    raise InputError(f"{folder / file}: tensor {name} is in {where} too")
                tensors[name] = stored
        return tensors

    @abstractmethod
    def open_file(self, path: Path, stack: contextlib.ExitStack) -> Mapping[str, Stored]:
        """The tensors of one file."""


def first_line(text: str) -> str:
    """The first line of another library's message."""
    return text.strip().split("\n")[0].strip()

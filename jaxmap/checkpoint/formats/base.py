"""The interface of a checkpoint format: which files belong to it, and what they contain."""

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
from jaxmap.model.encodings.codes import Meaning
from jaxmap.model.encodings.dtypes import FLOATS


@dataclass(frozen=True)
class Coded:
    """A matrix (out, in) in codes.

    Fields:
      meaning: the meaning of the arrays; the matrices of several layers can be stacked if theirs is
        the same, or if they are blocks of the same shape.
      read: returns the arrays, as `meaning.arrays` says; of blocks with the type, see
        `Blocks.in_memory`.
      transposed: whether the tensor itself is (in, out).
    """

    meaning: Meaning
    read: Callable[[], dict[str, np.ndarray]]
    transposed: bool = False


@dataclass(frozen=True)
class Stored:
    """A tensor of a checkpoint that is not read yet.

    Fields:
      file: its file, for messages.
      shape: the shape of the array.
      dtype: the dtype of the array; None if NumPy has no such dtype.
      dtype_name: the name of the dtype in the file.
      read: returns the array in memory.
      mapped: returns the array, memory-mapped from the file if the format allows it.
      parts: the tensors from which it is decoded; empty if it is stored as it is.
      codes: its codes, if a device can hold them instead of floats.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: np.dtype | None
    dtype_name: str
    read: Callable[[], np.ndarray]
    mapped: Callable[[], np.ndarray]
    parts: tuple[Stored, ...] = ()
    codes: Coded | None = None

    @property
    def is_float(self) -> bool:
        """Whether it can be a weight without decoding: float64, float32, float16 or bfloat16."""
        return self.dtype in FLOATS

    @property
    def float_dtype(self) -> np.dtype:
        """The dtype in which a weight is loaded: float32 for float64, otherwise as stored."""
        assert self.dtype is not None
        return np.dtype(np.float32) if self.dtype == np.float64 else self.dtype

    @property
    def num_bytes(self) -> int:
        """The bytes of the array; 0 if NumPy has no such dtype."""
        return 0 if self.dtype is None else int(np.prod(self.shape)) * self.dtype.itemsize

    @property
    def file_bytes(self) -> int:
        """The bytes of the tensor, or of its parts, in files."""
        return sum(part.file_bytes for part in self.parts) if self.parts else self.num_bytes


class Format(ABC):
    """A format of published checkpoints; each format is a subclass in its own file.

    Class attributes:
      name: its name in messages.
      config_file: the file that must be in the same folder as the weights.
      looks_for: names of the file with the weights, or of the index of several files, in order of
        preference; only the first that exists is read.
    """

    name: str
    config_file: str = "config.json"
    looks_for: tuple[str, ...]

    def choose(self, names: Collection[str]) -> str | None:
        """The name of the file with the weights, or of the index; None if there is none.

        Only names are known at this point: nothing is downloaded yet.
        """
        return next((name for name in self.looks_for if name in names), None)

    def files(self, folder: Path, chosen: str) -> list[str]:
        """All files with weights; `chosen` must be on disk.

        Raises InputError for an index that cannot be read or that names a missing file.
        """
        if not chosen.endswith(SUFFIX):
            return [chosen]
        names = shards(folder / chosen, str(folder))
        for name in names:
            if not (folder / name).exists():
                raise InputError(f"{folder / chosen}: shard {name} is missing; download it again")
        return names

    def config(self, folder: Path) -> dict[str, Any]:
        """The facts of the architecture, with the keys of Hugging Face's config.json."""
        return read_json(folder / "config.json")

    def open(self, folder: Path, chosen: str, stack: contextlib.ExitStack) -> Mapping[str, Stored]:
        """The tensors by Hugging Face's names; the files are open until the stack closes.

        As in transformers, the files decide and not the index, which may be wrong about tensors.
        Raises InputError for files that are truncated, corrupt or executable, and for a tensor that
        is in two files.
        """
        tensors: dict[str, Stored] = {}
        for file in self.files(folder, chosen):
            path = behind_link(folder / file)
            for name, stored in self.open_file(path, stack).items():
                if name in tensors:
                    where = tensors[name].file.name
                    raise InputError(f"{path}: tensor {name} is in {where} too")
                tensors[name] = stored
        return tensors

    def named(self, folder: Path, chosen: str) -> Path:
        """The name of a checkpoint in messages: its folder, or the file that the user named."""
        return folder

    @property
    def label(self) -> str:
        """The name in tables that do not name the dtype; "" for formats of plain numbers."""
        return ""

    def file_type(self, folder: Path, chosen: str) -> str:
        """The kind of file of a format that has several; "" for others."""
        return ""

    @abstractmethod
    def open_file(self, path: Path, stack: contextlib.ExitStack) -> Mapping[str, Stored]:
        """The tensors of one file."""


def behind_link(path: Path) -> Path:
    """The file that a link of the same name leads to, which is the one that the user knows.

    Folders of the cache that are made of several sources hold such links. Links of the Hub's cache
    lead to files of other names, and stay as they are.
    """
    if not path.is_symlink():
        return path
    target = path.parent / path.readlink()
    return target if target.name == path.name else path


def fill(array: np.ndarray, path: Path, start: int, name: str) -> None:
    """Reads bytes of a file from `start` into an array, until it is full.

    Raises InputError for a file that ends before it is; `name` is the tensor's, for the message.
    """
    left = memoryview(array.reshape(-1).view(np.uint8).data)
    with open(path, "rb", buffering=0) as file:
        file.seek(start)
        while left:
            count = file.readinto(left)
            if not count:
                raise InputError(f"{path}: truncated: {name} ends too early")
            left = left[count:]

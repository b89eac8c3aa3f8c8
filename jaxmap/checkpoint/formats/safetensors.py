"""safetensors: a length, a JSON header with names, dtypes, shapes and offsets, then the numbers.

The files are model.safetensors, or shards with model.safetensors.index.json. A header that does not
fit the file is refused; a dtype that a weight cannot have is refused when the weight is needed.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Mapping
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from jaxmap.checkpoint.formats.base import Format, Stored, fill
from jaxmap.checkpoint.host_memory import own_pages
from jaxmap.errors import InputError, first_line
from jaxmap.model.encodings.dtypes import NUMBERS


class Safetensors(Format):
    """The format safetensors, in one file or in shards with an index."""

    name = "safetensors"
    looks_for: tuple[str, ...] = ("model.safetensors", "model.safetensors.index.json")

    def open_file(self, path: Path, stack: contextlib.ExitStack) -> Mapping[str, Stored]:
        """The tensors of a file, read when asked for; raises InputError for a damaged file."""
        from safetensors import SafetensorError, safe_open

        try:
            file = stack.enter_context(safe_open(path, framework="numpy"))
            names = list(file.keys())
        except (SafetensorError, OSError) as error:
            reason = first_line(error)
            raise InputError(f"{path}: truncated or corrupt safetensors: {reason}") from None
        tensors = {}
        layout = _Layout(path)
        for name in names:
            view = file.get_slice(name)
            kind = view.get_dtype()
            tensors[name] = Stored(
                path,
                tuple(view.get_shape()),
                NUMBERS.get(kind),
                kind,
                partial(layout.read, name),
                partial(layout.mapped, name),
            )
        return tensors


class _Layout:
    """The positions of the tensors in a safetensors file."""

    def __init__(self, path: Path):
        self._path = path

    @cached_property
    def _content(self) -> tuple[dict, int]:
        with open(self._path, "rb") as file:
            length = int.from_bytes(file.read(8), "little")
            return json.loads(file.read(length)), 8 + length

    def _place(self, name: str) -> tuple[np.dtype, list[int], int]:
        header, begin = self._content
        facts = header[name]
        return NUMBERS[facts["dtype"]], facts["shape"], begin + facts["data_offsets"][0]

    def mapped(self, name: str) -> np.ndarray:
        """A tensor as a memory-mapped view of the file."""
        dtype, shape, start = self._place(name)
        if not math.prod(shape):
            return np.zeros(shape, dtype)
        # NumPy maps from any offset, but the tensor may not be aligned: bytes are mapped first.
        raw = np.memmap(self._path, np.uint8, "r", start, math.prod(shape) * dtype.itemsize)
        return np.asarray(raw.view(dtype).reshape(shape))

    def read(self, name: str) -> np.ndarray:
        """A tensor read into memory; pages of a memory map would count as ours until the end."""
        dtype, shape, start = self._place(name)
        array = own_pages(shape, dtype)
        fill(array, self._path, start, name)
        return array

"""The tensors of a checkpoint folder by name, read one at a time as NumPy arrays."""

from __future__ import annotations

import contextlib
import json
import math
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType

import ml_dtypes
import numpy as np

from jaxmap.architectures.config import read_json
from jaxmap.checkpoint.memory import own_pages
from jaxmap.checkpoint.sources.files import WEIGHTS, shards
from jaxmap.errors import InputError

_FLOATS = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}


@dataclass(frozen=True)
class Stored:
    """A tensor on disk: its file, shape, dtype (None where no float), and how to read it.

    `mapped` gives it without reading: what is not touched stays on disk.
    """

    file: Path
    shape: tuple[int, ...]
    dtype: np.dtype | None
    dtype_name: str
    read: Callable[[], np.ndarray]
    mapped: Callable[[], np.ndarray]

    @property
    def num_bytes(self) -> int:
        """Of a float tensor."""
        assert self.dtype is not None
        return int(np.prod(self.shape)) * self.dtype.itemsize


def _files(folder: Path) -> tuple[list[Path], dict[str, str]]:
    """The files with the weights, and which tensor an index puts in which of them."""
    name = next((name for name in WEIGHTS if (folder / name).exists()), None)
    if name is None:
        raise InputError(f"{folder}: no weights; looked for {', '.join(WEIGHTS)}")
    if not name.endswith(".index.json"):
        return [folder / name], {}
    index = folder / name
    names = shards(index, str(folder))
    for shard in names:
        if not (folder / shard).exists():
            raise InputError(f"{index}: shard {shard} is missing; download it again")
    return [folder / shard for shard in names], read_json(index)["weight_map"]


def num_bytes(folder: Path) -> int:
    """Bytes of the files with the weights."""
    return sum(path.stat().st_size for path in _files(folder)[0])


@contextlib.contextmanager
def open_tensors(folder: Path) -> Iterator[Mapping[str, Stored]]:
    """The tensors of a checkpoint; files stay open (and memory-mapped) inside the context.

    model.safetensors, or its sharded index, is preferred to pytorch_model.bin, which needs torch
    and is unpickled with weights_only: anything but tensors in it is refused.

    Raises InputError for missing, truncated, corrupt or executable files.
    """
    files, where = _files(folder)
    tensors: dict[str, Stored] = {}
    with contextlib.ExitStack() as stack:
        for path in files:
            reader = _safetensors if path.suffix == ".safetensors" else _pickled
            for name, stored in reader(path, stack).items():
                if name in tensors:
                    raise InputError(f"{path}: tensor {name} is in {tensors[name].file.name} too")
                tensors[name] = stored
        for name, shard in where.items():
            if name not in tensors or tensors[name].file.name != shard:
                raise InputError(f"{folder}: the index puts {name} in {shard}, which lacks it")
        yield MappingProxyType(tensors)


def _safetensors(path: Path, stack: contextlib.ExitStack) -> dict[str, Stored]:
    from safetensors import SafetensorError, safe_open

    try:
        file = stack.enter_context(safe_open(path, framework="numpy"))
        names = list(file.keys())
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: truncated or corrupt safetensors: {error}") from None
    tensors = {}
    layout = _Layout(path)
    for name in names:
        view = file.get_slice(name)
        kind = view.get_dtype()
        tensors[name] = Stored(
            path,
            tuple(view.get_shape()),
            _FLOATS.get(kind),
            kind,
            partial(layout.read, name),
            partial(layout.mapped, name),
        )
    return tensors


class _Layout:
    """Where the tensors of a safetensors file lie (its format: a length, a header, bytes)."""

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
        return _FLOATS[facts["dtype"]], facts["shape"], begin + facts["data_offsets"][0]

    def mapped(self, name: str) -> np.ndarray:
        """A tensor as a view of the file: what is not touched stays on disk."""
        dtype, shape, start = self._place(name)
        if not math.prod(shape):
            return np.zeros(shape, dtype)
        # NumPy maps from any place, but views need not be aligned: bytes first.
        raw = np.memmap(self._path, np.uint8, "r", start, math.prod(shape) * dtype.itemsize)
        return np.asarray(raw.view(dtype).reshape(shape))

    def read(self, name: str) -> np.ndarray:
        """A tensor in memory. Not through the map: its pages would count as ours until the end."""
        dtype, shape, start = self._place(name)
        array = own_pages(shape, dtype)
        left = memoryview(array.reshape(-1).view(np.uint8).data)
        with open(self._path, "rb", buffering=0) as file:
            file.seek(start)
            while left:
                count = file.readinto(left)
                if not count:
                    raise InputError(f"{self._path}: truncated: {name} ends too early")
                left = left[count:]
        return array


def _pickled(path: Path, stack: contextlib.ExitStack) -> dict[str, Stored]:
    try:
        import torch
    except ImportError:
        raise InputError(
            f"{path}: reading .bin weights needs torch: pip install 'jaxmap[torch]', "
            "or convert the checkpoint to safetensors"
        ) from None
    import pickle

    try:
        # Only the zip format can be memory-mapped; files from before torch 1.6 are plain pickles.
        content = torch.load(
            path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
        )
    except pickle.UnpicklingError as error:
        reason = _first_line(str(error).split("WeightsUnpickler error:")[-1])
        raise InputError(
            f"{path}: refused, it holds more than tensors or is corrupt: {reason}"
        ) from None
    except Exception as error:  # torch has no one exception for a damaged file
        reason = _first_line(str(error)) or type(error).__name__
        raise InputError(f"{path}: truncated or corrupt: {reason}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: holds a {type(content).__name__}, not named tensors")
    kinds = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16"}
    kinds[torch.bfloat16] = "BF16"

    def read(tensor) -> np.ndarray:
        if tensor.dtype == torch.bfloat16:
            return tensor.view(torch.int16).numpy().view(ml_dtypes.bfloat16)
        return tensor.detach().numpy()

    tensors = {}
    for name, value in content.items():
        if not isinstance(value, torch.Tensor):
            raise InputError(f"{path}: {name} is a {type(value).__name__}, not a tensor")
        kind = kinds.get(value.dtype, str(value.dtype))
        tensors[name] = Stored(
            path,
            tuple(value.shape),
            _FLOATS.get(kind),
            kind,
            *(lambda value=value: read(value),) * 2,  # mapped already
        )
    return tensors


def _first_line(text: str) -> str:
    return text.strip().split("\n")[0].strip()

"""PyTorch's pickles: pytorch_model.bin, or shards with pytorch_model.bin.index.json.

Reading them needs torch, which unpickles with weights_only: a file with anything but named tensors
is refused. Plain pickles from before torch 1.6 are read completely into memory.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from jaxmap.checkpoint.formats.base import Format, Stored
from jaxmap.errors import InputError, first_line
from jaxmap.model.encodings.dtypes import NUMBERS

_KINDS = {  # torch's names -> those of safetensors
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e5m2": "F8_E5M2",
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "int16": "I16",
    "int32": "I32",
    "int64": "I64",
}


class TorchBin(Format):
    """PyTorch's .bin files, in one file or in shards with an index; reading them needs torch."""

    name = "PyTorch"
    looks_for: tuple[str, ...] = ("pytorch_model.bin", "pytorch_model.bin.index.json")

    def open_file(self, path: Path, stack: contextlib.ExitStack) -> Mapping[str, Stored]:
        """The tensors of a file; raises InputError without torch and for anything but tensors."""
        try:
            import torch
        except ImportError:
            raise InputError(
                f"{path}: reading .bin weights needs torch: pip install torch, "
                "or convert the checkpoint to safetensors"
            ) from None
        import pickle

        try:
            # Files from before torch 1.6 are plain pickles, which cannot be memory-mapped.
            content = torch.load(
                path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)
            )
        except pickle.UnpicklingError as error:
            reason = first_line(str(error).split("WeightsUnpickler error:")[-1])
            raise InputError(
                f"{path}: refused, it holds more than tensors or is corrupt: {reason}"
            ) from None
        except Exception as error:  # torch raises various exceptions for a damaged file
            reason = first_line(error)
            raise InputError(f"{path}: truncated or corrupt: {reason}") from None
        if not isinstance(content, dict):
            raise InputError(f"{path}: holds a {type(content).__name__}, not named tensors")
        kinds = {getattr(torch, torch_name): name for torch_name, name in _KINDS.items()}
        bits = {torch.bfloat16: torch.int16, torch.float8_e4m3fn: torch.uint8}
        bits[torch.float8_e5m2] = torch.uint8

        def read(tensor, dtype: np.dtype | None) -> np.ndarray:
            if tensor.dtype in bits:  # NumPy itself has no such dtype
                return tensor.view(bits[tensor.dtype]).numpy().view(dtype)
            return tensor.detach().numpy()

        tensors = {}
        for name, value in content.items():
            if not isinstance(name, str):
                raise InputError(f"{path}: {name!r:.60} is not the name of a tensor")
            if not isinstance(value, torch.Tensor):
                raise InputError(f"{path}: {name} is a {type(value).__name__}, not a tensor")
            kind = kinds.get(value.dtype, str(value.dtype))
            tensors[name] = Stored(
                path,
                tuple(value.shape),
                NUMBERS.get(kind),
                kind,
                *(partial(read, value, NUMBERS.get(kind)),) * 2,  # mapped already
            )
        return tensors

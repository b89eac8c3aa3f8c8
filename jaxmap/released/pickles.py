"""Reads pickles of NumPy arrays in plain containers, and refuses all others by name.

A pickle is a program: loading one can run anything. Here it can call nothing but what rebuilds an
array, a dtype, a scalar or a container.
"""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxmap.errors import InputError

_LFS = b"version https://git-lfs"


class _RefusedError(Exception):
    pass


def _latin1(text: str, codec: str) -> bytes:
    """Rebuilds bytes as protocol 2 writes them; latin1 is the only codec that it uses."""
    if codec != "latin1":
        raise _RefusedError(f"_codecs.encode to {codec!r}")
    return text.encode("latin1")


def _admitted() -> dict[tuple[str, str], Any]:
    multiarray = np._core.multiarray  # type: ignore[attr-defined]
    admitted: dict[tuple[str, str], Any] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("collections", "OrderedDict"): OrderedDict,
        ("collections", "defaultdict"): defaultdict,
        ("_codecs", "encode"): _latin1,
    }
    for core in ("numpy.core", "numpy._core"):  # as NumPy 1 and NumPy 2 name it
        admitted[f"{core}.multiarray", "_reconstruct"] = multiarray._reconstruct
        admitted[f"{core}.multiarray", "scalar"] = multiarray.scalar
        admitted[f"{core}.numeric", "_frombuffer"] = _frombuffer
    for kind in (dict, list, set, frozenset, tuple, bytearray, int, float, complex, str, bytes):
        admitted["builtins", kind.__name__] = kind
        admitted["__builtin__", kind.__name__] = kind
    return admitted


def _frombuffer(
    buffer: Any, dtype: np.dtype, shape: tuple[int, ...], order: str, axes: Any = None
) -> np.ndarray:
    """Rebuilds an array as protocol 5 writes it."""
    array = np.frombuffer(buffer, dtype=dtype)
    if order == "K" and axes is not None:
        return array.reshape(shape, order="C").transpose(axes)
    return array.reshape(shape, order=order)  # type: ignore[call-overload]


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any):
        super().__init__(file)
        self._known = _admitted()

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._known:
            raise _RefusedError(" ".join(f"{module}.{name}".split()))
        return self._known[module, name]


def load_arrays(path: str | os.PathLike[str]) -> Any:
    """Reads a pickle of arrays in plain containers.

    Raises InputError, which names the file, for a damaged pickle and for one that would call
    anything else. The message says what it would call; nothing of it is run.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            if file.read(len(_LFS)) == _LFS:
                raise InputError(
                    f"{path}: is only a pointer of Git LFS: fetch the file with `git lfs pull`"
                )
            file.seek(0)
            return _Unpickler(file).load()
    except _RefusedError as refused:
        raise InputError(
            f"{path}: refused: the pickle asks for {refused}, and only NumPy arrays in plain "
            "containers are read; do not trust this file"
        ) from None
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except Exception as error:  # a broken pickle can raise nearly anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise InputError(
            f"{path}: not a whole pickle ({reason:.200}): download it again"
        ) from error


def as_dict(path: Path, value: Any, key: object = None) -> Mapping[Any, Any]:
    """The value read from a file, or from its entry `key`; raises InputError if it is no dict."""
    if not isinstance(value, Mapping):
        where = path if key is None else f"{path}: {key}"
        raise InputError(f"{where}: has to be a dict, is {type(value).__name__}")
    return value

"""The metadata of one architecture, remembering which keys were read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np

from jaxmap.checkpoint.gguf.blocks import read_floats
from jaxmap.checkpoint.gguf.header import Header
from jaxmap.errors import InputError

_MISSING = object()
# Ends of keys that count something, and of keys that are numbers of any sort.
_COUNTS = ("_count", "_count_kv", "_length", "_mla", "_rank", "_kernel", "_size", "sliding_window")
_NUMBERS = (
    *("_epsilon", "_softcapping", "freq_base", "freq_base_swa", "_scale", "scale_linear"),
    *(".factor", "_factor", "_multiplier", "_kqv", "_bias"),
)


class Metadata:
    """What a header says of its architecture.

    Keys are named without `<architecture>.` before them. Every one of them may change a logit, so
    `check_all_read` refuses those that nothing asked for.
    """

    def __init__(self, header: Header, is_here: bool = True):
        self.header = header
        self._is_here = is_here
        self._before = f"{header.architecture}."
        self._read: set[str] = set()
        self.last_key = ""  # the key that was read last

    @property
    def where(self) -> str:
        """The file, for messages."""
        return str(self.header.file)

    def get(self, key: str, default: Any = None) -> Any:
        """A value; of a list with one value for each layer, that one where all are the same.

        InputError where a list's values differ, where a number is not finite, and where a count is
        not a whole number.
        """
        self._read.add(key)
        self.last_key = self._before + key
        value = self.header.metadata.get(self.last_key, _MISSING)
        if value is _MISSING:
            return default
        if isinstance(value, list):
            if len(set(map(str, value))) != 1:
                raise InputError(
                    f"{self.where}: {self._before}{key} differs from layer to layer, which is not "
                    "supported in this architecture"
                )
            value = value[0]
        self._check(key, value)
        if isinstance(value, float):
            if not np.isfinite(value):
                raise InputError(f"{self.where}: {self._before}{key} = {value}")
            return float(str(np.float32(value)))  # as it was written: 1e-05, not 9.99999974e-06
        return value

    def _check(self, key: str, value: Any) -> None:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if key.endswith(_COUNTS) and not (
            number and 0 <= value < float("inf") and value == int(value)
        ):
            raise InputError(f"{self.where}: {self._before}{key} = {value!r:.60}: must be a count")
        if key.endswith(_NUMBERS) and not number:
            raise InputError(f"{self.where}: {self._before}{key} = {value!r:.60}: must be a number")

    def list_of(self, key: str) -> list | None:
        """A value that is a list."""
        self._read.add(key)
        self.last_key = self._before + key
        value = self.header.metadata.get(self.last_key)
        return value if isinstance(value, list) else None

    def need(self, key: str) -> Any:
        """A value; InputError where it is missing."""
        value = self.get(key)
        if value is None:
            raise InputError(f"{self.where}: {self._before}{key} is missing")
        return value

    def number(self, key: str) -> float:
        """A number above 0; InputError for anything else."""
        value = self.need(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
            raise InputError(f"{self.where}: {self._before}{key} = {value!r}: must be above 0")
        return value

    def require(self, key: str, *values: Any) -> None:
        """InputError where a key has another value than these; it may be absent."""
        value = self.get(key, values[0])
        if value not in values:
            raise InputError(f"{self.where}: {self._before}{key} = {value!r} is not supported")

    def inert(self, keys: Iterable[str]) -> None:
        """Declares keys that cannot change a logit."""
        self._read.update(keys)

    def check_all_read(self) -> None:
        """InputError for keys of this architecture that nothing read."""
        own = {key for key in self.header.metadata if key.startswith(self._before)}
        left = sorted(key for key in own if key.removeprefix(self._before) not in self._read)
        if left:
            more = f" and {len(left) - 5} more" if len(left) > 5 else ""
            raise InputError(
                f"{self.where}: metadata that is not understood: {', '.join(left[:5])}{more}"
            )

    def has(self, tensor: str) -> bool:
        """Whether the file has a tensor."""
        return tensor in self.header.tensors

    def tensor(self, name: str) -> list[float]:
        """The numbers of a small tensor that stand for a setting."""
        info = self.header.tensors[name]
        if not self._is_here:
            return [1.0] * info.shape[-1]
        return [float(str(x)) for x in read_floats(info, name).astype(np.float32).reshape(-1)]

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding."""
        info = self.header.tensors.get("token_embd.weight")
        if info is None or len(info.shape) != 2:
            raise InputError(f"{self.where}: token_embd.weight is missing or no matrix")
        return info.shape[0]

    @property
    def heads(self) -> int:
        """Query heads."""
        return int(self.number("attention.head_count"))

    @property
    def groups(self) -> int:
        """Heads of keys and values."""
        return int(self.get("attention.head_count_kv") or self.heads)

    @property
    def head_dim(self) -> int:
        """Channels of a head; keys and values are as wide as one another."""
        even = int(self.number("embedding_length")) // self.heads
        width = int(self.get("attention.key_length") or even)
        self.require("attention.value_length", width)
        return width

    @property
    def name(self) -> str:
        """The file's own name."""
        return os.path.basename(self.where)

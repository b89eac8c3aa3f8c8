"""Removes prefixes of tensor names that come from wrappers in training tools."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TypeVar

from jaxmap.errors import InputError

T = TypeVar("T")

# Prefixes of any module's name, from torch.compile, PyTorch's FSDP and activation checkpointing.
_ANYWHERE = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
# Prefixes of all names: the first from DataParallel and DeepSpeed, the others from PEFT.
_IN_FRONT = ("module.", "base_model.model.")


def without_wrappers(tensors: Mapping[str, T], where: str) -> dict[str, T]:
    """The tensors by their names without wrappers.

    Raises InputError, which names `where`, if two names become equal.
    """
    names = {name: _ANYWHERE.sub("", name) for name in tensors}
    while prefix := next((p for p in _IN_FRONT if _all_begin(names.values(), p)), ""):
        names = {name: short.removeprefix(prefix) for name, short in names.items()}
    found: dict[str, str] = {}
    for name, short in names.items():
        if short in found:
            raise InputError(f"{where}: {found[short]} and {name} are two tensors of one name")
        found[short] = name
    return {short: tensors[name] for short, name in found.items()}


def _all_begin(names: Collection[str], prefix: str) -> bool:
    return bool(names) and all(name.startswith(prefix) for name in names)

"""Names of tensors as tools leave them: wrappers that were not taken off before saving."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import TypeVar

from jaxmap.errors import InputError

T = TypeVar("T")

# torch.compile, PyTorch's FSDP and activation checkpointing put these before any module's name.
_ANYWHERE = re.compile(
    r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\."
)
# DataParallel and DeepSpeed put the first before all names, PEFT the others.
_IN_FRONT = ("module.", "base_model.model.")


def without_wrappers(tensors: Mapping[str, T], where: str) -> dict[str, T]:
    """The tensors under the names of the model itself.

    Raises InputError, which names `where`, where two names become one.
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

"""The environment of this process: versions, devices, processor cores, the folder for caches."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

from jaxmap.version import __version__

# What the numbers of a result depend on.
_PACKAGES = ("jax", "jaxlib", "flax", "numpy", "tokenizers", "transformers")


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"jaxmap": __version__, "python": platform.python_version(), **found}


def device() -> str:
    """The devices of this process and of those it scores with, such as "2 x gpu NVIDIA H200"."""
    import jax

    devices = jax.devices()
    kind = devices[0].device_kind
    platform_name = devices[0].platform
    return f"{len(devices)} x {platform_name}" + (f" {kind}" if kind != platform_name else "")


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def user_cache() -> Path:
    """The folder for what can be made again: $XDG_CACHE_HOME/jaxmap, else ~/.cache/jaxmap."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxmap"

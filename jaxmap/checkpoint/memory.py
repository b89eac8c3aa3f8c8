"""Memory of the host: how much is free, and what gives it back."""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def own_pages(shape: Sequence[int], dtype: Any) -> np.ndarray:
    """An array of zeros on pages of its own, which go back to the system when it is dropped.

    Memory from the allocator may be kept for later (see `runtime.prepare`). Pages are aligned as
    JAX wants it, so that on CPU `device_put` takes them as they are, without a copy.
    """
    count = math.prod(shape)
    if not count:
        return np.zeros(shape, dtype)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    pages = mmap.mmap(-1, count * np.dtype(dtype).itemsize, flags)
    return np.frombuffer(pages, dtype=dtype, count=count).reshape(shape)


def give_back() -> None:
    """Hands what the allocator keeps but nobody uses to the system, where it is glibc's.

    After work that took much and comes back seldom, such as compiling: programs of jaxmap keep
    freed memory otherwise (`runtime.prepare`).
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def free_memory() -> int:
    """Bytes that a process may still take: what the system calls available, within its cgroup."""
    found = [_available(), *of_cgroup()]
    return max(0, min(found))


def _available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    # Half of all memory, where nothing tells what others use.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def of_cgroup(folder: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """What a container's limit leaves (version 2, then 1); files that are only cached are free."""
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
    ):
        try:
            bound = (folder / limit).read_text().strip()
            if bound == "max":
                return []
            taken = int((folder / used).read_text())
            stat = (folder / limit).with_name("memory.stat").read_text()
            facts = dict(line.split() for line in stat.splitlines())
            return [int(bound) - taken + int(facts.get(cached, 0))]
        except (OSError, ValueError):
            continue
    return []

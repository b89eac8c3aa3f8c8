"""The host's memory: how much is free, and returning freed memory to the system."""

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
    """An array of zeros on memory pages of its own, which the system gets back when it is freed.

    The allocator would keep the memory (see `runtime.prepare`). Pages have the alignment that JAX
    needs, so that `device_put` on a CPU uses them without a copy.
    """
    count = math.prod(shape)
    if not count:
        return np.zeros(shape, dtype)
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    pages = mmap.mmap(-1, count * np.dtype(dtype).itemsize, flags)
    return np.frombuffer(pages, dtype=dtype, count=count).reshape(shape)


def give_back() -> None:
    """Returns freed memory that the allocator keeps to the system, if the allocator is glibc's.

    It is called after rare steps that need much memory, such as compiling; otherwise freed
    memory is kept (`runtime.prepare`).
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def free_memory() -> int:
    """The bytes that this process may still use: available memory, within its cgroup's limit."""
    found = [_available(), *of_cgroup()]
    return max(0, min(found))


def _available() -> int:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    # Half of all memory if the use by others is unknown.
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def of_cgroup(folder: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """The bytes within a container's limits (cgroup version 2, then 1); cached files are free."""
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

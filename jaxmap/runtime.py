"""Process-wide settings that make scoring fast; for programs, before JAX starts."""

from __future__ import annotations

import ctypes
import os
import sys

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8


def prepare() -> None:
    """Keeps large buffers mapped between steps, and compiled programs between runs.

    XLA on CPU allocates its temporaries anew at every call; by default glibc maps and unmaps each,
    and page faults eat a good part of a run. The price is a higher resident size. Compiled
    programs go to the user's cache folder, unless JAX_COMPILATION_CACHE_DIR says where.
    """
    if sys.platform == "linux" and "MALLOC_MMAP_MAX_" not in os.environ:
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_MAX, 0)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
            libc.mallopt(_M_ARENA_MAX, 1)

    import jax

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        jax.config.update("jax_compilation_cache_dir", os.path.join(home, "jaxmap", "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)

"""Settings of the process that make scoring fast, for programs and notebooks."""

from __future__ import annotations

import ctypes
import functools
import os
import sys
import warnings

from jaxmap.environment import user_cache
from jaxmap.errors import InputError

# From glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGE = 32 << 20  # bytes; the largest threshold that glibc takes


@functools.cache
def prepare() -> None:
    """Keeps buffers mapped between steps, and compiled programs between runs; has effect once.

    XLA on CPU allocates its temporaries anew at every call; by default glibc maps and unmaps many
    of them, and page faults eat a good part of a run. Only the one or two largest are left to
    that, which costs 1 to 2 %: kept, they are cut up by what is smaller, and take up two or three
    times their size. Compiled programs go to the user's cache folder, unless
    JAX_COMPILATION_CACHE_DIR or the program itself has said where.

    In a notebook that has used JAX before, what JAX reads only when it starts keeps its value.
    """
    if sys.platform == "linux" and not any(name.startswith("MALLOC_") for name in os.environ):
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_MMAP_THRESHOLD, _LARGE)
            libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)

    import jax

    # One batch is scored at a time on a CPU; dispatched, it may meet the temporaries of the last.
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    if jax.config.values["jax_compilation_cache_dir"] is None:
        jax.config.update("jax_compilation_cache_dir", str(user_cache() / "compiled"))
    # A cache that cannot be written (a full disk) costs time and nothing else: no lines about it.
    warnings.filterwarnings("ignore", message=r"Error \w+ persistent compilation")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def keep_off_accelerators() -> None:
    """Leaves GPUs and TPUs to another library: JAX, which would take their memory, uses the CPU.

    Without effect in a program that has used JAX before.
    """
    import jax

    jax.config.update("jax_platforms", "cpu")


def check_platform() -> None:
    """Starts JAX; raises InputError if it finds no device of the requested platforms."""
    import jax

    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:
        asked = os.environ.get("JAX_PLATFORMS") or jax.config.values["jax_platforms"] or "any"
        said = str(error).strip().splitlines()
        reason = f" ({said[0][:200]})" if said else ""
        raise InputError(
            f"JAX_PLATFORMS={asked}: JAX finds no such device here{reason}; unset it or set it to "
            "cpu, or install JAX for that platform (pip install 'jax[cuda13]' or 'jax[tpu]')"
        ) from error

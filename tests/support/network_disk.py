"""A file system as a network has it: slow, with handles that go stale and answers that are lost.

Installed in a process of its own, it stands in front of what the store calls: each call waits, and
some fail with ESTALE, or fail after they were done, as when the server's answer is lost and the
client asks again. Listings are whole, as opening a folder asks the server (close-to-open).
"""

from __future__ import annotations

import builtins
import errno
import os
import random
import time
from collections.abc import Callable
from typing import Any


def install(
    seed: int, *, latency_s: float = 0.002, stale: float = 0.01, lost: float = 0.05
) -> None:
    """Replaces the calls for the rest of the process.

    Args:
      seed: of what fails.
      latency_s: mean wait of a call.
      stale: share of calls to open, stat and list that fail with ESTALE.
      lost: share of links whose answer is lost.
    """
    rng = random.Random(seed)

    def slow(call: Callable[..., Any], *, may_be_stale: bool) -> Callable[..., Any]:
        def called(path: Any, *arguments: Any, **options: Any) -> Any:
            if isinstance(path, int) or not concerns(path):
                return call(path, *arguments, **options)
            time.sleep(rng.expovariate(1 / latency_s))
            if may_be_stale and rng.random() < stale:
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
            return call(path, *arguments, **options)

        return called

    def link(source: Any, target: Any, **options: Any) -> None:
        time.sleep(rng.expovariate(1 / latency_s))
        real_link(source, target, **options)
        if rng.random() < lost:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))

    def read(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if isinstance(path, int) or not concerns(path):
            return real_open(path, mode, *arguments, **options)
        time.sleep(rng.expovariate(1 / latency_s))
        if mode.startswith("r") and rng.random() < stale:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return real_open(path, mode, *arguments, **options)

    def concerns(path: Any) -> bool:
        name = os.fspath(path)
        return any(f"/{part}" in str(name) for part in ("claims", "workers", "records"))

    real_link, real_open = os.link, builtins.open
    os.link = link
    builtins.open = read
    import io

    io.open = read  # pathlib's
    os.scandir = slow(os.scandir, may_be_stale=True)
    os.replace = slow(os.replace, may_be_stale=False)
    os.unlink = slow(os.unlink, may_be_stale=False)

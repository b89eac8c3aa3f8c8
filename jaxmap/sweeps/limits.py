"""Waiting times and limits of a sweep, on which no result depends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from jaxmap.checkpoint.host_memory import free_memory
from jaxmap.checkpoint.sources.cache import AHEAD


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long a sweep waits, and how much it prepares in advance.

    Fields:
      busy_s: seconds between two checks of what other workers do, at first. While they are at the
        same, each wait is twice the one before, so that a thousand workers that wait for the last
        checkpoints do not keep the file system busy.
      busy_most_s: the longest wait between two checks.
      idle_share, idle_s: on a CPU, loading runs in parallel with scoring once more than this share,
        and more than so many seconds, of a load passed without computing.
      downloads: the number of checkpoints that are fetched in advance.
      download_bytes: the bytes of downloads that may wait to be scored.
      free_memory: returns the host's free memory in bytes.
    """

    busy_s: float = 2.0
    busy_most_s: float = 30.0
    idle_share: float = 0.2
    idle_s: float = 0.05
    downloads: int = 3
    download_bytes: int = AHEAD
    free_memory: Callable[[], int] = free_memory


DEFAULT = Limits()

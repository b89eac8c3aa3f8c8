"""Waiting times and limits of a sweep, on which no result depends."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from jaxmap.checkpoint.memory import free_memory
from jaxmap.checkpoint.sources.cache import AHEAD


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long a sweep waits, and how much it prepares in advance.

    Fields:
      busy_s: seconds between two checks of what other workers do.
      idle_share, idle_s: on a CPU, loading runs in parallel with scoring once more than this share,
        and more than so many seconds, of a load passed without computing.
      downloads: the number of checkpoints that are fetched in advance.
      download_bytes: the bytes of downloads that may wait to be scored.
      free_memory: returns the host's free memory in bytes.
    """

    busy_s: float = 2.0
    idle_share: float = 0.2
    idle_s: float = 0.05
    downloads: int = 3
    download_bytes: int = AHEAD
    free_memory: Callable[[], int] = free_memory


DEFAULT = Limits()

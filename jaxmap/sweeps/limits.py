"""Waits and sizes of a sweep that no result depends on."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from jaxmap.checkpoint.memory import free_memory
from jaxmap.checkpoint.sources.cache import AHEAD


@dataclasses.dataclass(frozen=True)
class Limits:
    """How long a sweep waits and how far it goes ahead.

    Fields:
      busy_s: seconds between two looks at what other workers do.
      idle_share, idle_s: loading happens beside scoring once more than this share of a load, and
        more than so many seconds of it, went by without computing.
      downloads: checkpoints fetched, or being fetched, beyond the one that is loaded.
      download_bytes: downloaded bytes that may wait to be scored.
      free_memory: tells how many bytes the host has free.
    """

    busy_s: float = 2.0
    idle_share: float = 0.2
    idle_s: float = 0.05
    downloads: int = 3
    download_bytes: int = AHEAD
    free_memory: Callable[[], int] = free_memory


DEFAULT = Limits()

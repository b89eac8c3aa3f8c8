"""A disk that is full, played by the largest size that a file may have."""

from __future__ import annotations

import resource
from contextlib import contextmanager


@contextmanager
def largest_file(size: int):
    """No file can grow beyond so many bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

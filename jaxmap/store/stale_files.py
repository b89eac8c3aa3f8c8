"""Retries after ESTALE, with which network file systems answer for a handle that they dropped."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TRIES = 5
WAIT_S = 0.05  # before the second try; twice as long before each further one


def asked_again(call: Callable[[], T]) -> T:
    """What a call returns; it is repeated a few times where its file's handle is stale."""
    for i in range(TRIES - 1):
        try:
            return call()
        except Exception as error:
            if not is_stale(error):
                raise
        time.sleep(WAIT_S * 2**i)
    return call()


def is_stale(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is a stale handle."""
    while error is not None:
        # The readers of safetensors give the number in their text alone.
        if (
            getattr(error, "errno", None) == errno.ESTALE
            or f"os error {errno.ESTALE}" in f"{error}"
        ):
            return True
        error = error.__cause__
    return False

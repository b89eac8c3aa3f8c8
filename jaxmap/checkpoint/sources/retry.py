"""Repeats requests to the Hub after failures that may be temporary."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TypeVar

from jaxmap.errors import JaxmapError, first_line

T = TypeVar("T")


@dataclass(frozen=True)
class Retry:
    """How often, and after which waits in seconds, a failing request is repeated.

    Waits double from `first_wait`, plus a random share of up to `jitter`, so that many workers do
    not return at once. A time to wait named by the server is respected up to `longest_wait`; a
    longer one ends the attempt.
    """

    tries: int = 6
    first_wait: float = 2.0
    jitter: float = 0.5
    longest_wait: float = 320.0  # the Hub counts requests over windows of 300 s
    sleep: Callable[[float], None] = time.sleep


class RefusedError(Exception):
    """A failure that a retry does not help, with its cause and the HTTP status if there is one."""

    def __init__(self, error: BaseException, status: int | None):
        super().__init__(str(error))
        self.error = error
        self.status = status


def attempt(request: Callable[[], T], what: str, retry: Retry) -> T:
    """Makes a request, and repeats it after failures that may be temporary.

    Raises RefusedError if a retry is useless, JaxmapError if all tries failed.
    """
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    wait = retry.first_wait
    for turn in range(1, retry.tries + 1):
        try:
            return request()
        except (HTTPError, OSError, RuntimeError, ValueError) as raised:
            failure: BaseException = raised
            # The client library reports a failed look-up as "not in the cache".
            if isinstance(raised, FileNotFoundError) and raised.__cause__ is not None:
                failure = raised.__cause__
        response = failure.response if isinstance(failure, HfHubHTTPError) else None
        status = response.status_code if response is not None else None
        if not _may_pass(failure, status):
            raise RefusedError(failure, status) from failure
        asked = _asked_wait(response.headers) if response is not None else None
        reason = f"HTTP {status}" if status else first_line(failure)
        tries = min(retry.tries, 2) if _is_unknown_host(failure) else retry.tries
        if turn >= tries or (asked or 0) > retry.longest_wait:
            raise _give_up(what, reason, status, turn, asked) from failure
        pause = wait * (1 + retry.jitter * random.random()) if asked is None else asked + 1
        print(
            f"{what}: {reason}; try {turn} of {tries}, next in {pause:.0f} s",
            file=sys.stderr,
        )
        retry.sleep(pause)
        wait *= 2
    raise ValueError(f"tries must be at least 1, not {retry.tries}")


def _may_pass(error: BaseException | None, status: int | None) -> bool:
    """Whether a retry may help: too many requests, a failing server, a broken connection."""
    from huggingface_hub.errors import HTTPError

    if status is not None:
        return status in (408, 429) or status >= 500
    if isinstance(error, HTTPError):
        return type(error).__name__ not in ("UnsupportedProtocol", "TooManyRedirects")
    if isinstance(error, ConnectionError | TimeoutError):
        return True
    if isinstance(error, OSError):  # the client library's error for an incomplete file
        return error.errno is None and "Consistency check failed" in str(error)
    return isinstance(error, RuntimeError) and "No space left" not in str(error)  # of hf_xet


def _is_unknown_host(error: BaseException | None) -> bool:
    """Whether the cause of an error is an unknown host name, mostly because of being offline."""
    while error is not None:
        if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
            return True
        error = error.__cause__ or error.__context__
    return False


def _asked_wait(headers) -> float | None:
    """The seconds that the server asks to wait; None if it does not say.

    They are in Retry-After (seconds or a date) or in the Hub's header ratelimit, `"api";r=0;t=55`.
    """
    after = headers.get("retry-after", "").strip()
    if after.isdigit():
        return float(after)
    with contextlib.suppress(ValueError):
        return max(0.0, parsedate_to_datetime(after).timestamp() - time.time())
    spent = re.search(r"r\s*=\s*0\s*;\s*t\s*=\s*(\d+)", headers.get("ratelimit", ""))
    return float(spent[1]) if spent else None


def _give_up(
    what: str, reason: str, status: int | None, turn: int, asked: float | None
) -> JaxmapError:
    advice = "check the connection, or set HF_HUB_OFFLINE=1 to use the cached files"
    if status == 429:
        advice = "wait, or set HF_TOKEN for a higher limit"
    elif status is not None:
        advice = "the Hub is in trouble; run the same command later"
    asks = f", asks for a wait of {asked:.0f} s" if asked else ""
    times = "1 try" if turn == 1 else f"{turn} tries"
    return JaxmapError(f"{what}: {reason} after {times}{asks}; {advice}")

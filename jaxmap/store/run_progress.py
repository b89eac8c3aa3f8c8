"""How far a run is, as people read it: a bar, rates and the time that is left."""

from __future__ import annotations

import math
from collections.abc import Sequence

from jaxmap.store.heartbeat import Seen


def bar(done: int, of: int, width: int = 20) -> str:
    """A bar such as "[#####...............]"."""
    full = width * done // of if of else 0
    return "[" + "#" * full + "." * (width - full) + "]"


def rate_text(rate: float) -> str:
    """A rate without an exponent: "1,234", "12.3", "0.05"."""
    if rate >= 99.95:
        return f"{rate:,.0f}"
    return f"{rate:.3g}" if rate >= 0.01 or rate == 0 else "< 0.01"


def outlook(complete: bool, missing: int, workers: Sequence[Seen]) -> str:
    """What can be expected: "30 an hour, about 2 h 5 min to go", or why there is no rate.

    Args:
      complete: whether everything requested is done.
      missing: the number of items that were requested and not tried yet.
      workers: the workers of the store; those that are gone do not count.
    """
    living = [seen.worker for seen in workers if seen.lives]
    rates = [worker.items_per_second for worker in living]
    rate = sum(one for one in rates if not math.isnan(one))
    if complete:
        return "all done"
    if not living:
        return "no worker is running" if missing else "nothing runs; run it again to retry"
    if not missing:
        return "the last items are in progress"
    if not rate:
        words = sorted({worker.doing for worker in living if worker.doing})
        return f"no rate yet: {' and '.join(words)}" if words else "no rate yet"
    return f"{rate_text(3600 * rate)} an hour, about {duration(missing / rate)} to go"


def duration(seconds: float) -> str:
    """The two largest units: 45 s, 3 min 10 s, 2 h 5 min, 3 d 4 h."""
    left = round(seconds)
    parts: list[str] = []
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min"), (1, "s")):
        amount, left = divmod(left, size)
        if amount or (unit == "s" and not parts):
            parts.append(f"{amount} {unit}")
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts)

"""Sizes in bytes as people write them: "200GB" to a number, and a number to "28.8 kB"."""

from __future__ import annotations

import re

from jaxmap.errors import InputError

_PREFIXES = " KMGT"


def byte_text(num_bytes: float) -> str:
    """A size with three digits and a unit, a power of 1000 bytes: "512 B", "28.8 kB", "1.5 TB"."""
    size = float(num_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if float(f"{size:.3g}") < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB" if size < 1000 else f"{size:.0f} TB"


def parse_size(text: str, field: str) -> int:
    """Bytes from "200GB", "1.5 TB" or "500000000"; units are powers of 1000, KiB etc. of 1024.

    Raises InputError, which names the parameter `field`, for a text that is no size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", text, re.IGNORECASE)
    if match is None or (match[3] and not match[2]):
        raise InputError(f"{text!r} is not a size; write it as 200GB, 1.5TB or 64GiB", field=field)
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** _PREFIXES.index(match[2].upper() or " "))

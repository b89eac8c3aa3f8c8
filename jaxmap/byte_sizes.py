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


def parse_size(size: str | int, field: str) -> int:
    """Bytes from a size as people write it: "200GB", "1.5 TB", "64GiB", "512 B".

    Units are powers of 1000 bytes, those with an i (KiB, MiB) of 1024. A text needs a unit, unless
    it is 0, so that nobody who means 200 GB writes 200 bytes; an int is in bytes.

    Raises InputError, which names the parameter `field`, for a text that is no size and for a
    number that is negative or not whole.
    """
    if not isinstance(size, str):
        if isinstance(size, bool) or not isinstance(size, int) or size < 0:
            message = f"{size!r} is not a number of bytes; write a whole number, or text as 200GB"
            raise InputError(message, field=field)
        return size
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)(B?)\s*", size, re.IGNORECASE)
    if match is None or (match[3] and not match[2]):
        raise InputError(f"{size!r} is not a size; write it as 200GB, 1.5TB or 64GiB", field=field)
    if not match[2] and not match[4] and float(match[1]):
        number = match[1]
        message = f"{size!r} has no unit; write it as {number}GB, {number}MB or {number}B (bytes)"
        raise InputError(message, field=field)
    base = 1024 if match[3] else 1000
    return int(float(match[1]) * base ** _PREFIXES.index(match[2].upper() or " "))

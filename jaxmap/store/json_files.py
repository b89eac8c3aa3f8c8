"""Small readable files of a store, and the versions of a store's format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FORMAT = 2
READS = (1, 2)  # 1: without statistics beyond the log-likelihood


class CorruptError(Exception):
    """Raised for a file of the store whose content is not what was written."""


def encode_json(facts: dict[str, Any]) -> bytes:
    """The content of a file with these facts and the format's version."""
    return (json.dumps({"format": FORMAT, **facts}, indent=1) + "\n").encode()


def decode_json(path: Path) -> dict[str, Any]:
    """The inverse of `encode_json`, from a file; raises CorruptError."""
    try:
        facts = json.loads(path.read_bytes())
        check_format(facts["format"])
        return facts
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise CorruptError(f"not a file of this store ({error})") from error


def check_format(version: object) -> None:
    """Raises CorruptError for a version that this code does not read."""
    if version not in READS:
        known = " and ".join(map(str, READS))
        raise CorruptError(f"its format is {version}, this version reads {known}")

"""Results of a comparison that need the texts, stored because a store has no texts.

STORE/comparisons/NAME.texts.json.gz beside the numbers has statistics of parts of the texts and
tokens, the texts that differ most, and a few of these token by token, from which `jaxmap report`
shows them.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

from jaxmap.atomic import write_atomic
from jaxmap.comparison.details import Detail
from jaxmap.comparison.subsets import TextRow
from jaxmap.comparison.token_views import TextView, TokenView
from jaxmap.errors import InputError

_VERSION = 1
_MOST_TEXTS = 20  # of those that differ most


class KeptTexts(NamedTuple):
    """The fields are those of `jaxmap.comparison.table.Compared`."""

    details: tuple[Detail, ...]
    worst: tuple[TextRow, ...]
    views: tuple[TextView, ...]


def path_beside(numbers: Path) -> Path:
    """The file that belongs to a file of numbers."""
    return numbers.with_name(f"{numbers.stem}.texts.json.gz")


def keep(numbers: Path, found: KeptTexts) -> None:
    """Writes the file, whole or not at all; texts token by token that are there stay."""
    if not found.views and (known := read(numbers)) is not None:
        found = found._replace(views=known.views)
    facts = {
        "version": _VERSION,
        "details": [dataclasses.astuple(one) for one in found.details],
        "worst": [dataclasses.astuple(one) for one in found.worst[:_MOST_TEXTS]],
        "views": [dataclasses.astuple(one) for one in found.views],
    }
    text = json.dumps(facts, separators=(",", ":")).encode()
    write_atomic(path_beside(numbers), gzip.compress(text, mtime=0))


def read(numbers: Path) -> KeptTexts | None:
    """What `keep` wrote; None if it is not there. InputError names a damaged file."""
    path = path_beside(numbers)
    if not path.exists():
        return None
    try:
        facts = json.loads(gzip.decompress(path.read_bytes()))
        if facts["version"] != _VERSION:
            raise ValueError("it is of another version")
        return KeptTexts(
            tuple(Detail(*one) for one in facts["details"]),
            tuple(TextRow(*one) for one in facts["worst"]),
            tuple(_view(*one) for one in facts["views"]),
        )
    except (OSError, EOFError, ValueError, TypeError, KeyError, zlib.error) as error:
        raise InputError(f"{path}: damaged; delete it and compare again: {error}") from error


def _view(text: int, before: str, tokens: list[Any]) -> TextView:
    return TextView(text, before, tuple(_token(*one) for one in tokens))


def _token(
    text: str,
    kl: float,
    logp: float,
    reference_logp: float,
    likeliest: list[Any],
    reference_likeliest: list[Any],
) -> TokenView:
    def pairs(of: list[Any]) -> tuple[tuple[str, float], ...]:
        return tuple((str(said), float(p)) for said, p in of)

    return TokenView(text, kl, logp, reference_logp, pairs(likeliest), pairs(reference_likeliest))

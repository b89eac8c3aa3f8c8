"""Cutting names into words and putting them together again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

EDGE = "-_=.:/ "  # separators
END = r"(?![a-z0-9])(?!\.\d)"  # pattern: a number ends here, and no fraction follows


@lru_cache(maxsize=1 << 18)
def natural_key(text: str) -> tuple[tuple[object, ...], str]:
    """Sorts numbers inside names by value: step2, step10, step1000."""
    parts = re.split(r"(\d+)", text)
    return tuple(int(part) if i % 2 else part for i, part in enumerate(parts)), text


def cut(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """A text without some of its parts, and with one separator where they were."""
    rest, last = [], 0
    for start, end in sorted(spans):
        rest.append(text[last:start])
        last = max(last, end)
    return join((*rest, text[last:]))


def join(texts: Iterable[str]) -> str:
    """Joins the parts that are not empty with "-", without separators at their ends."""
    stripped = (text.strip(EDGE) for text in texts)
    return "-".join(text for text in stripped if text).replace("/", "-")


def without_words(text: str, words: frozenset[str], at_end: bool = False) -> str:
    """A text without certain words; `at_end`: only the last ones, and never all."""
    spans = [match.span() for match in re.finditer(r"[^-_/]+", text)]
    cuts = []
    for start, end in reversed(spans):
        if text[start:end].lower() in words:
            cuts.append((start, end))
        elif at_end:
            break
    return cut(text, cuts) if cuts else text


def without_prefix(part: str, model: str) -> str:
    """CrystalCoder@CrystalCoder_phase1 is of the run phase1."""
    rest = part[len(model) :]
    if part.lower().startswith(model.lower()) and rest[:1] in ("", *EDGE):
        return rest.strip(EDGE)
    return part

"""The number of parameters in a model's own name: 160m, 1.4b, 8x7B, or a word such as small."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}

# Numbers in names that are lengths of contexts or budgets of thinking, not sizes.
_CONTEXT_K = frozenset({1, 2, 4, 8, 16, 32, 40, 64, 80, 96, 100, 128, 200, 256, 512, 1024, 1048})
_CONTEXT_M = frozenset({1, 2, 4, 10})
_SIZE_WORDS = frozenset(
    "nano micro tiny mini xxs xs s small m medium base l large xl xxl xxxl huge giant".split()
)
# A model is trained on at least about so many tokens a parameter (Hoffmann et al. 2022, arXiv
# 2203.15556): of two numbers side by side the larger is a size only where it is less than that.
_TOKENS_A_PARAMETER = 20

_SIZE = re.compile(
    r"(?:(?P<experts>\d{1,4})x|e)?(?P<number>\d{1,15}(?:\.\d{1,6})?)(?P<unit>[kmbt])(?P<tenth>\d?)",
    re.IGNORECASE | re.ASCII,
)


def read_size(model: str) -> tuple[str, float | None, str]:
    """The family of a model, its number of parameters and the word of its name that gives it."""
    found = _choose_size([*sizes(model)])
    if found:
        size, (start, end) = float(found.value), found.span
    else:
        words = [match.span() for match in re.finditer(r"[^-_]+", model)]
        named = [(a, b) for a, b in words if model[a:b].lower() in _SIZE_WORDS]
        if len(words) < 2 or not named:
            return model, None, ""
        size, (start, end) = None, named[-1]
    return f"{model[:start]}*{model[end:]}", size, model[start:end]


def sizes(text: str) -> Iterator[Size]:
    """The words of a text that may be a number of parameters, in order."""
    for word in re.finditer(r"[^-]+", text):
        whole = _SIZE.fullmatch(word[0].replace("_", "."))  # stablelm-2-1_6b
        if whole:
            yield _size_of(whole, word.span())
            continue
        for part in re.finditer(r"[^_]+", word[0]):
            match = _SIZE.fullmatch(part[0])
            if match:
                start, end = part.span()
                yield _size_of(match, (word.start() + start, word.start() + end))


@dataclass(frozen=True)
class Size:
    """A word of a name that may be a number of parameters, and its span of characters."""

    value: Decimal
    unit: str
    span: tuple[int, int]

    @property
    def is_context(self) -> bool:
        """Whether the number is a usual length of context, such as 32k."""
        count = self.value / UNITS[self.unit]
        return count in {"k": _CONTEXT_K, "m": _CONTEXT_M}.get(self.unit, ())


def _choose_size(found: list[Size]) -> Size | None:
    """B and M before T before K: in bitnet-2B-4T the last are tokens, in Ling-1T parameters."""
    plain = [size for size in found if not size.is_context]
    for units, among in (("bm", plain), ("t", plain), ("m", found), ("k", plain)):
        chosen = [size for size in among if size.unit in units]
        if not chosen:
            continue
        best = chosen[0]
        for size in chosen[1:]:  # OLMoE-1B-7B: of these, active in each token, and all
            beside = size.span[0] == best.span[1] + 1
            if beside and best.value < size.value < _TOKENS_A_PARAMETER * best.value:
                best = size
        return best
    return None


def _size_of(match: re.Match[str], span: tuple[int, int]) -> Size:
    number = Decimal(match["number"] + ("." + match["tenth"] if match["tenth"] else ""))  # 7b1
    unit = match["unit"].lower()
    return Size(number * int(match["experts"] or 1) * UNITS[unit], unit, span)

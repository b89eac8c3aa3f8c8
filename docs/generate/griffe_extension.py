"""Lets one line of a docstring describe several parameters: "pairs, base: as of `kl`."."""

from __future__ import annotations

import re
from typing import Any

import griffe

_SEVERAL = re.compile(
    r"^(?P<indent>  )(?P<names>(?:\w+,\s+)+\w+): (?P<text>.*(?:\n   +\S.*)*)", re.MULTILINE
)


class SeveralParameters(griffe.Extension):
    """Repeats such a line for each of its parameters."""

    def on_function(self, *, func: griffe.Function, **kwargs: Any) -> None:
        if func.docstring is not None and "Args:\n" in func.docstring.value:
            func.docstring.value = _SEVERAL.sub(_each, func.docstring.value)


def _each(match: re.Match[str]) -> str:
    names = re.split(r",\s+", match["names"])
    return "\n".join(f"{match['indent']}{name}: {match['text']}" for name in names)

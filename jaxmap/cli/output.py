"""Prints results and errors on the command line; parameters are shown as flags."""

from __future__ import annotations

import re
from collections.abc import Collection

from jaxmap.errors import JaxmapError

_PARAMETER = re.compile(r"`(\w+)(=[^`]*)?`")


def as_flags(text: str, flags: Collection[str]) -> str:
    """A message with each `name` or `name=value` that is a flag written as --name or --name=value.

    Other words in backquotes stay as they are.
    """

    def flag(match: re.Match[str]) -> str:
        name, value = match.groups(default="")
        return f"--{name}{value}" if name in flags else match[0]

    return _PARAMETER.sub(flag, text)


def message_of(error: JaxmapError, flags: Collection[str]) -> str:
    """An error's line, with the parameter at its head as a flag of the command that failed."""
    head = "--" if error.field is not None and error.field in flags else ""
    return head + as_flags(str(error), flags)

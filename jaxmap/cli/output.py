"""Prints results and errors on the command line; parameters are shown as flags."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable
from pathlib import Path

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


def files_in(folder: str, paths: Iterable[Path]) -> str:
    """What was written, one line: `scale.csv, scale.{pdf,png,svg} in FOLDER`."""
    endings: dict[str, list[str]] = defaultdict(list)
    for path in paths:
        endings[path.stem].append(path.suffix)
    names = [
        f"{stem}{found[0]}"
        if len(found) == 1
        else f"{stem}.{{{','.join(sorted(one.removeprefix('.') for one in found))}}}"
        for stem, found in endings.items()
    ]
    return f"{', '.join(names)} in {folder}"


def message_of(error: JaxmapError, flags: Collection[str]) -> str:
    """An error's line, with the parameter at its head as a flag of the command that failed."""
    head = "--" if error.field is not None and error.field in flags else ""
    return head + as_flags(str(error), flags)

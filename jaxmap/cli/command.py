"""What a command of the program is, and the flags that several share."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from absl import flags

from jaxmap.errors import InputError

STORE = "The store: a folder with one file a result."
TEXTS = "Texts: .jsonl with a `text` field (or `prompt` and `response`), .json, .txt; .gz, .zst."


@dataclasses.dataclass(frozen=True)
class Command:
    """One command: its flags, what it does, and the text of its --help.

    Fields:
      summary: one line.
      details: what a newcomer has to know, examples included.
      define: adds the command's flags to a FlagValues.
      run: does it, given the parsed flags; returns the exit code.
      words: what may stand after the command's name and changes nothing: `jaxmap lens train`.
    """

    summary: str
    details: str
    define: Callable[[flags.FlagValues], None]
    run: Callable[[flags.FlagValues], int]
    words: tuple[str, ...] = ()


def required(values: flags.FlagValues, *names: str) -> None:
    for name in names:
        if not values[name].value:
            raise InputError(f"--{name} is required; see `jaxmap {values.command} --help`")


def string(values: flags.FlagValues, name: str, default: str | None, text: str) -> None:
    flags.DEFINE_string(name, default, text, flag_values=values)


def integer(values: flags.FlagValues, name: str, default: int | None, text: str) -> None:
    flags.DEFINE_integer(name, default, text, flag_values=values, lower_bound=0)


def define_store(values: flags.FlagValues) -> None:
    string(values, "store", None, STORE)

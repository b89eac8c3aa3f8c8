"""Every command has a public function with the parameters and defaults of its flags."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import jaxmap
from jaxmap.cli.program import COMMANDS, define

# Where the command's name means something else in Python.
NAMES = {"map": "make_map", "import": "import_released", "lens": "train_lens"}
OF_THE_PROGRAM = {"command", "help"}  # flags that every command has
IN_PYTHON_ONLY = {"command"}  # what a shell's user types; the program passes it on
BESIDE_COMMANDS = {
    "load_texts",  # gives what others take
    "open_store",
    "write_kl",  # `kl` for more models than memory holds
}


def function_of(command: str):
    return getattr(jaxmap, NAMES.get(command, command))


def plain(value: Any) -> Any:
    """A default as both sides write it."""
    if isinstance(value, list | tuple):
        return tuple(value)
    return {"false": False, "": None}.get(value, value) if isinstance(value, str) else value


def test_every_command_has_a_function_and_every_function_a_command():
    of_commands = {NAMES.get(name, name) for name in COMMANDS}
    public = {name for name in jaxmap.__all__ if inspect.isfunction(getattr(jaxmap, name))}
    assert public - BESIDE_COMMANDS == of_commands


@pytest.mark.parametrize("command", COMMANDS)
def test_parameters_are_the_flags(command):
    flags = define(command)
    parameters = inspect.signature(function_of(command)).parameters
    names = set(flags) - OF_THE_PROGRAM
    assert set(parameters) - IN_PYTHON_ONLY == names
    for name in sorted(names):
        default = parameters[name].default
        if default is inspect.Parameter.empty:
            assert flags[name].default is None, f"{name} is required in Python, not in the shell"
        else:
            assert plain(default) == plain(flags[name].default), name

"""The flag --config: a Python file with `get_config()`, and --config.FIELD=VALUE."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from absl import flags

from jaxmap.errors import InputError

if TYPE_CHECKING:
    from ml_collections import ConfigDict

# Refuses what a config holds: the flag as it was given, its fields, the names of those that are set
# on the command line ("steps", "sizes.xs.width").
Check = Callable[[str, dict[str, Any], list[str]], None]


def define_config(values: flags.FlagValues, text: str, check: Check) -> None:
    """Adds --config to a command's flags; `text` is its help."""
    from ml_collections import config_flags

    config_flags.DEFINE_config_file("config", None, text, flag_values=values)
    values["config"].parser = _Parser(check)


class _Parser(flags.ArgumentParser):
    """Reads a config file, so that all that can be wrong with it is one line."""

    def __init__(self, check: Check):
        self._check = check

    def parse(self, argument: str) -> ConfigDict:
        from ml_collections import ConfigDict

        where, made = f"--config={argument}", _made(argument)
        # The settings that config_flags is about to look for, where it looks for them.
        found = (re.match(r"--?(?:no)?config\.([^=]+)", one) for one in sys.argv)
        self._check(where, dict(made), [match[1] for match in found if match])
        config = made if isinstance(made, ConfigDict) else ConfigDict(made)
        config.lock()
        return config


def _made(path: str) -> Any:
    """What `get_config` of FILE.py, or FILE.py:ARGUMENT, returns."""
    import runpy

    file = path.partition(":")[0]
    if not os.path.isfile(file):
        raise InputError(f"--config={path}: no such file")
    try:
        made = runpy.run_path(file)["get_config"](*path.split(":", 1)[1:])
        dict(made)
        return made
    except InputError:
        raise
    except KeyError as error:
        what = "get_config()" if error.args == ("get_config",) else f"key {error}"
        raise InputError(f"--config={path}: has no {what}") from error
    except Exception as error:
        lines = str(error).strip().splitlines()
        reason = f"{type(error).__name__}: {lines[0] if lines else ''}"
        raise InputError(f"--config={path}: cannot be read: {reason}") from error

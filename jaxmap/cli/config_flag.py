"""The flag --config: a Python file with `get_config()`, and --config.FIELD=VALUE."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from absl import flags

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

        from jaxmap.sweeps.config_schema import load_config

        where, made = f"--config={argument}", load_config(argument)
        # The settings, where config_flags searches for them.
        found = (re.match(r"--?(?:no)?config\.([^=]+)", one) for one in sys.argv)
        self._check(where, dict(made), [match[1] for match in found if match])
        config = made if isinstance(made, ConfigDict) else ConfigDict(made)
        config.lock()
        return config

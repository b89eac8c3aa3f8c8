"""The only package that knows flags: one file per group of commands, joined in `program`."""

from jaxmap.cli.program import COMMANDS, main, run

__all__ = ["COMMANDS", "main", "run"]

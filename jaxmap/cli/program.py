"""The command line: `jaxmap COMMAND [--flags]`.

Exit codes: 0 when everything requested is done, 2 for a bad flag or bad input, 75 when a run was
told to stop (SIGTERM) and resumes when it is run again, 1 for a failure. Progress and messages go
to stderr, results to stdout or to files.
"""

from __future__ import annotations

import difflib
import logging as stdlib_logging
import os
import sys
import textwrap
from collections.abc import Sequence

from absl import flags, logging

from jaxmap.atomic import full_disk_error
from jaxmap.cli import (
    bench,
    compare,
    demo,
    exit_codes,
    families,
    floor,
    lens,
    maps,
    plan,
    pmi,
    reproduce,
    resample,
    scale,
    score,
    sharing,
    stores,
    sweep,
    texts,
    tokens,
    training_runs,
    verify,
)
from jaxmap.cli.command import Command, string
from jaxmap.cli.output import as_flags, message_of
from jaxmap.errors import InputError, JaxmapError
from jaxmap.version import __version__

COMMANDS: dict[str, Command] = {
    **texts.COMMANDS,
    **score.COMMANDS,
    **lens.COMMANDS,
    **sweep.COMMANDS,
    **floor.COMMANDS,
    **stores.COMMANDS,
    **sharing.COMMANDS,
    **compare.COMMANDS,
    **tokens.COMMANDS,
    **scale.COMMANDS,
    **training_runs.COMMANDS,
    **maps.COMMANDS,
    **reproduce.COMMANDS,
    **resample.COMMANDS,
    **pmi.COMMANDS,
    **plan.COMMANDS,
    **families.COMMANDS,
    **verify.COMMANDS,
    **bench.COMMANDS,
    **demo.COMMANDS,
}

_OWN = ("command", "help", "helpfull", "helpshort", "helpxml", "flagfile", "undefok")


def _usage() -> str:
    lines = [f"jaxmap {__version__}: maps language models by their log-likelihoods", ""]
    lines += ["usage: jaxmap COMMAND [--flag=value ...]", ""]
    lines += [f"  {name:<9} {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join([*lines, "", "jaxmap COMMAND --help says more about one.", ""])


def _help(name: str, values: flags.FlagValues) -> str:
    command = COMMANDS[name]
    lines = [f"jaxmap {name}: {command.summary}", "", command.details.rstrip(), "", "flags:"]
    for key, default, text in _described(values):
        need = "" if default else command.need_of(key)
        more = f" (default: {default})" if default else f" ({need})" if need else ""
        text = textwrap.fill(f"{text}{more}", 94, break_on_hyphens=False)
        lines.append(f"  --{key}\n{textwrap.indent(text, ' ' * 6)}")
    return "\n".join([*lines, ""])


def flags_of(name: str) -> list[tuple[str, str, str]]:
    """Name, default ("" for none) and help of each flag of a command, as --help gives them."""
    return _described(define(name))


def _described(values: flags.FlagValues) -> list[tuple[str, str, str]]:
    return [
        (
            key,
            "" if flag.default in (None, "", []) else str(flag.default_as_str).strip("'"),
            flag.help,
        )
        for key, flag in ((key, values[key]) for key in values if key not in _OWN)
    ]


def define(name: str) -> flags.FlagValues:
    """The flags of one command, at their defaults."""
    values = flags.FlagValues()
    string(values, "command", name, "The command.")
    flags.DEFINE_boolean("help", False, "This text.", flag_values=values)
    COMMANDS[name].define(values)
    return values


def parse(name: str, arguments: Sequence[str]) -> flags.FlagValues:
    """The flags of one command; InputError for any that it does not have or cannot read."""
    values = define(name)
    if arguments and arguments[0] in COMMANDS[name].words:
        arguments = arguments[1:]
    try:
        rest = values([name, *(_of_today(name, one) for one in arguments)])[1:]
    except flags.UnrecognizedFlagError as error:
        new = COMMANDS[name].renamed.get(error.flagname)
        if new is not None:
            raise InputError(f"--{error.flagname} is called --{new} here") from None
        near = difflib.get_close_matches(error.flagname, [k for k in values if k not in _OWN], 1)
        hint = f"; did you mean --{near[0]}?" if near else ""
        raise InputError(
            f"unknown flag --{error.flagname}{hint} See `jaxmap {name} --help`"
        ) from None
    except flags.Error as error:
        raise InputError(str(error)) from None
    if rest:
        raise InputError(
            f"unexpected argument {rest[0]!r}: flags are written --name=value; "
            f"see `jaxmap {name} --help`"
        )
    return values


def _of_today(name: str, argument: str) -> str:
    """An argument with today's name of its flag; a former name is answered with a warning."""
    flag, equals, value = argument.partition("=")
    new = COMMANDS[name].former.get(flag.lstrip("-")) if flag.startswith("-") else None
    if new is None:
        return argument
    logging.warning("%s is called --%s now", flag, new)
    return f"--{new}{equals}{value}"


def run(arguments: Sequence[str]) -> int:
    """Runs one command line (without the program's name) and returns its exit code.

    Raises JaxmapError with a message that names flags.
    """
    if len(arguments) > 1 and arguments[0] == "help":  # `jaxmap help score`
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in ("--help", "-h", "help", "--helpfull"):
        print(_usage(), end="")
        return 0 if arguments else 2
    if arguments[0] in ("--version", "version"):
        print(__version__)
        return 0
    name, *rest = arguments
    rest = ["--help" if one == "-h" else one for one in rest]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise InputError(f"unknown command {name!r}{hint} Known: {', '.join(COMMANDS)}")
    try:
        values = parse(name, rest)
        if values.help:
            print(_help(name, values), end="")
            return 0
        COMMANDS[name].check_required(values)
        try:
            return COMMANDS[name].run(values)
        except (RuntimeError, AssertionError):
            if "jax" in sys.modules:  # which may be told of a platform that is not here
                from jaxmap import runtime

                runtime.check_platform()
            raise
    except JaxmapError as error:
        kind = InputError if isinstance(error, InputError) else JaxmapError
        raise kind(message_of(error, list(define(name)))) from error


class _Lines(stdlib_logging.Formatter):
    """One plain line per message, with parameters as flags of the command that runs."""

    def __init__(self, names: Sequence[str]):
        super().__init__("jaxmap: %(message)s")
        self._names = names

    def format(self, record: stdlib_logging.LogRecord) -> str:
        return as_flags(super().format(record), self._names)


def _log_to_stderr(command: str) -> None:
    """Our own messages from INFO on, other libraries' from WARNING on."""
    flags.FLAGS.mark_as_parsed()  # absl's logging waits for its own flags
    logging.use_absl_handler()
    logging.set_verbosity(logging.INFO)
    names = list(define(command)) if command in COMMANDS else []
    logging.get_absl_handler().setFormatter(_Lines(names))
    for library in ("jax", "orbax", "httpx", "httpx2"):
        stdlib_logging.getLogger(library).setLevel(stdlib_logging.WARNING)


def main() -> None:
    """The `jaxmap` program."""
    _log_to_stderr(sys.argv[1] if len(sys.argv) > 1 else "")
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except JaxmapError as error:
        print(f"jaxmap: {error}", file=sys.stderr)
        code = exit_codes.of_error(error)
    except KeyboardInterrupt:
        print("jaxmap: interrupted; run the same command again to resume", file=sys.stderr)
        code = exit_codes.INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except OSError as error:  # of the output where that is a file
        full = full_disk_error(error, error.filename or "standard output")
        if full is None:
            raise
        print(f"jaxmap: {full}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = exit_codes.of_error(full)
    if "jax" in sys.modules:  # or there are no other processes to leave
        from jaxmap import distributed

        distributed.leave(code)
    sys.exit(code)

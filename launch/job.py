"""What the launchers share: the jaxmap command after `--`, --dry_run, and doing it again."""

from __future__ import annotations

import shlex
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence

from absl import app, flags

from jaxmap.cli import exit_codes, program
from jaxmap.errors import InputError

AGAIN = exit_codes.STOPPED  # after saving, or a peer was lost: the same command resumes
COMMANDS = ("score", "sweep")

_DRY_RUN = flags.DEFINE_boolean("dry_run", False, "Print what would be executed, and stop.")
FOLDER = flags.DEFINE_string("folder", None, "Where to run, on the cluster.")
SETUP = flags.DEFINE_string(
    "setup", None, "Shell commands before each run, such as 'source .venv/bin/activate'."
)


def jaxmap_command(arguments: Sequence[str]) -> list[str]:
    """The jaxmap command line that follows `--`, refused here rather than on a hundred hosts.

    Raises InputError for anything but a score or a sweep whose flags jaxmap understands.
    """
    if not arguments or arguments[0] not in COMMANDS:
        raise InputError(
            f"after -- comes a jaxmap command: {' or '.join(COMMANDS)}, and its flags"
            + (f", not {arguments[0]!r}" if arguments else "")
        )
    name, *rest = arguments
    values = program.parse(name, rest)
    if not values.store:
        raise InputError("--store is required: a folder that every host sees under this name")
    return ["jaxmap", *arguments]


def shell(command: str) -> str:
    """The command, in the folder, after the set-up, as one line for a shell."""
    steps = [f"cd {shlex.quote(FOLDER.value)}"] if FOLDER.value else []
    steps += [SETUP.value] if SETUP.value else []
    return " && ".join([*steps, command])


def execute(command: Sequence[str], stdin: str | None = None) -> int:
    """Runs a program, or with --dry_run prints it and what it would read; its exit code."""
    if _DRY_RUN.value:
        print(shlex.join(command))
        if stdin is not None:
            print(stdin, end="" if stdin.endswith("\n") else "\n")
        return 0
    try:
        return subprocess.run(command, input=stdin, text=True, check=False).returncode
    except FileNotFoundError:
        raise InputError(f"{command[0]}: no such program on this machine") from None


def execute_all(commands: dict[str, Sequence[str]], restarts: int) -> int:
    """Runs one program a host, side by side, each again while it asks for that; the worst code.

    Args:
      commands: by host.
      restarts: how many times all of them are run again after one ended with AGAIN.
    """
    for left in range(restarts, -1, -1):
        codes: dict[str, int] = {}

        def one(host: str, command: Sequence[str], codes: dict[str, int] = codes) -> None:
            codes[host] = execute(command)

        threads = [
            threading.Thread(target=one, args=(host, command)) for host, command in commands.items()
        ]
        for thread in threads:
            thread.start()
            if _DRY_RUN.value:
                thread.join()  # in order
        for thread in threads:
            thread.join()
        if len(codes) < len(commands):
            return 1
        if AGAIN not in codes.values() or not left:
            break
        print(f"launch: a process asked to be run again; {left} restarts left", file=sys.stderr)
    return max(codes.values(), key=lambda code: (code != 0, code == AGAIN, code))


def run(main: Callable[[list[str]], int]) -> None:
    """The launcher's `__main__`: its flags before `--`, a jaxmap command after it."""

    def guarded(arguments: Sequence[str]) -> int:
        try:
            return main(jaxmap_command(arguments[1:]))
        except InputError as error:
            print(f"launch: {error}", file=sys.stderr)
            return exit_codes.of_error(error)

    app.run(guarded, flags_parser=_parse)


def _parse(arguments: list[str]) -> list[str]:
    """The arguments that are no flags of the launcher; exits for --help and for a bad flag."""
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if {"-h", "--help", "-help"} & set(own):
        print(_help(), end="")
        sys.exit(0)
    try:
        return flags.FLAGS(arguments)
    except flags.Error as error:
        print(f"launch: {error}; --help lists the flags", file=sys.stderr)
        sys.exit(2)


def _help() -> str:
    """The launcher's docstring and its flags."""
    launcher = sys.modules["__main__"]
    found = [*flags.FLAGS.get_key_flags_for_module(launcher)]
    found += flags.FLAGS.flags_by_module_dict()[__name__]
    lines = [str(launcher.__doc__).strip(), "", "flags:"]
    for flag in dict.fromkeys(found):
        default = "" if flag.default in (None, []) else f" (default: {flag.default!r})"
        text = textwrap.fill(" ".join(flag.help.partition(";     repeat")[0].split()) + default, 88)
        lines += [f"  --{flag.name}", textwrap.indent(text, "      ")]
    return "\n".join([*lines, ""])

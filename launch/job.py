"""Code that the launchers share: flags, the jaxmap command after `--`, running it again."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Mapping, Sequence

from absl import flags

from jaxmap.cli import exit_codes, program
from jaxmap.errors import InputError

AGAIN = exit_codes.STOPPED  # after saving, or a peer was lost: the same command resumes
# What a command of each kind cannot do without; one of each tuple.
COMMANDS = {
    "score": (("store",), ("texts",), ("models", "models_file")),
    "sweep": (("store",), ("config",)),
}

_DRY_RUN = flags.DEFINE_boolean(
    "dry_run", False, "Whether to print what would be executed, and stop."
)
FOLDER = flags.DEFINE_string("folder", None, "Folder in which to run, on the cluster.")
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
    for names in COMMANDS[name]:
        if not any(values[one].value for one in names):
            raise InputError(
                f"jaxmap {name}: --{names[0]} is required"
                + (": a folder that every host sees under this name" if "store" in names else "")
            )
    return ["jaxmap", *arguments]


def shell(command: str) -> str:
    """The command, in the folder, after the set-up, as one line for a shell."""
    steps = [f"cd {shlex.quote(FOLDER.value)}"] if FOLDER.value else []
    steps += [SETUP.value] if SETUP.value else []
    return " && ".join([*steps, command])


_RUNNING: list[subprocess.Popen] = []


def execute(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    environment: Mapping[str, str] | None = None,
    alone: bool = True,
) -> int:
    """Runs a program, or with --dry_run prints it and what it would read; its exit code.

    Args:
      environment: what is set for it, beside what is set here.
      alone: whether no other runs beside it, so that it may ask the user something.

    Returns 128 and the signal's number for a program that was killed.
    """
    environment = environment or {}
    if _DRY_RUN.value:
        print(" ".join([*(f"{k}={v}" for k, v in environment.items()), shlex.join(command)]))
        if stdin is not None:
            print(stdin, end="" if stdin.endswith("\n") else "\n")
        return 0
    reads = subprocess.PIPE if stdin is not None else None if alone else subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            command, stdin=reads, text=True, env={**os.environ, **environment}
        )
    except FileNotFoundError:
        raise InputError(f"{command[0]}: no such program on this machine") from None
    _RUNNING.append(process)
    process.communicate(stdin)
    _RUNNING.remove(process)
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def execute_all(
    commands: Mapping[str, Sequence[str]],
    restarts: int,
    kills: int,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Runs one program a host, side by side, each again while it asks for that; the worst code.

    SIGTERM is passed on to them, and then nothing is run again: AGAIN, unless all was done.

    Args:
      commands: by host.
      restarts: how many times all of them are run again after one ended with AGAIN, was killed, or
        lost its connection, which ssh reports as 255.
      kills: how many of these times may be because of the latter two.
      environment: see `execute`.
    """
    told = threading.Event()

    def end(number: int, frame: object) -> None:
        told.set()
        for process in list(_RUNNING):
            process.send_signal(number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        while True:
            codes = _side_by_side(commands, environment)
            if len(codes) < len(commands):
                return exit_codes.BAD_INPUT  # a program is not there, which was said
            killed = any(code > 128 for code in codes.values())
            again = killed or AGAIN in codes.values()
            if told.is_set():
                return AGAIN if any(codes.values()) else exit_codes.DONE
            if not again or not restarts or (killed and not kills):
                return max(codes.values(), key=lambda code: (code != 0, code == AGAIN, code))
            restarts, kills = restarts - 1, kills - killed
            why = "was killed or lost" if killed else "asked to be run again"
            print(f"launch: a process {why}; {restarts} restarts left", file=sys.stderr)
    finally:
        signal.signal(signal.SIGTERM, before)


def _side_by_side(
    commands: Mapping[str, Sequence[str]], environment: Mapping[str, str] | None
) -> dict[str, int]:
    """Exit codes by host; without those whose program is not there, which is said."""
    codes: dict[str, int] = {}

    def one(host: str, command: Sequence[str]) -> None:
        try:
            codes[host] = execute(command, environment=environment, alone=len(commands) == 1)
        except InputError as error:
            print(f"launch: {error}", file=sys.stderr)

    threads = [threading.Thread(target=one, args=pair) for pair in commands.items()]
    for thread in threads:
        thread.start()
        if _DRY_RUN.value:
            thread.join()  # in order
    for thread in threads:
        thread.join()
    return codes


def run(main: Callable[[list[str]], int]) -> None:
    """The launcher's `__main__`: its flags before `--`, a jaxmap command after it."""
    try:
        sys.exit(main(jaxmap_command(_parse(sys.argv)[1:])))
    except InputError as error:
        print(f"launch: {error}", file=sys.stderr)
        sys.exit(exit_codes.of_error(error))
    except KeyboardInterrupt:
        print("launch: interrupted; run the same command again to resume", file=sys.stderr)
        sys.exit(exit_codes.INTERRUPTED)


def _parse(arguments: list[str]) -> list[str]:
    """The arguments that are no flags of the launcher; exits for --help.

    Raises InputError for a flag that is unknown, lacking or not understood.
    """
    own = arguments[: arguments.index("--")] if "--" in arguments else arguments
    if {"-h", "--help", "-help", "help", "--helpfull", "--helpshort"} & set(own[1:]):
        print(_help(), end="")
        sys.exit(0)
    try:
        rest = flags.FLAGS(arguments)
    except flags.UnrecognizedFlagError as error:
        near = difflib.get_close_matches(error.flagname, [flag.name for flag in _own_flags()], 1)
        hint = f"; did you mean --{near[0]}?" if near else ";"
        raise InputError(f"unknown flag --{error.flagname}{hint} --help lists the flags") from None
    except flags.Error as error:
        lacking = re.findall(r"Flag --(\w+) must have a value", str(error))
        if lacking:
            names = ", ".join(f"--{name}" for name in lacking)
            raise InputError(f"{names}: required; --help lists the flags") from None
        raise InputError(f"{str(error).removeprefix('flag ')}; --help lists the flags") from None
    if len(rest) > 1 and "--" not in arguments and rest[1] in COMMANDS:
        raise InputError(f"write -- before the jaxmap command: ... -- {rest[1]} ...")
    stray = set(own[1:]) & set(rest[1:]) if "--" in arguments else set()
    if stray:
        raise InputError(f"{min(stray)!r} stands before --: flags are written --name=value")
    return rest


def _own_flags() -> list[flags.Flag]:
    """The launcher's own flags, then those that all launchers have."""
    found = [*flags.FLAGS.get_key_flags_for_module(sys.modules["__main__"])]
    found += flags.FLAGS.flags_by_module_dict()[__name__]
    return list(dict.fromkeys(found))


def _help() -> str:
    """The launcher's docstring and its flags."""
    lines = [str(sys.modules["__main__"].__doc__).strip(), "", "flags:"]
    for flag in _own_flags():
        default = "" if flag.default in (None, []) else f" (default: {flag.default!r})"
        text = textwrap.fill(" ".join(flag.help.partition(";     repeat")[0].split()) + default, 88)
        lines += [f"  --{flag.name}", textwrap.indent(text, "      ")]
    return "\n".join([*lines, ""])

"""Runs programs that do the same work alternately, each in a process of its own.

So other load on the machine slows all of them alike, and each has its own peak memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from jaxmap.errors import JaxmapError
from jaxmap.progress import progress

# On Linux, getrusage starts from the peak of the parent process; this file does not.
_STATUS = Path("/proc/self/status")


def take_turns(commands: Mapping[str, Sequence[str]], repeats: int, desc: str) -> dict[str, list]:
    """Runs the programs in turns; returns the answers of each by its name, one dict per turn.

    There are `repeats` + 1 turns; in the first, programs load and compile. For each turn a program
    reads a line and answers with a line of JSON, see `serve`.

    Args:
      commands: the command of each program by its name.
      repeats: the number of turns after the first.
      desc: the label of the progress bar.

    Raises JaxmapError for a program that ends early, with the last line it wrote.
    """
    answers: dict[str, list] = {name: [] for name in commands}
    with contextlib.ExitStack() as stack:
        programs = {name: stack.enter_context(_started(c)) for name, c in commands.items()}
        bar = stack.enter_context(
            progress((repeats + 1) * len(programs), desc, "turn", leave=False)
        )
        for _ in range(repeats + 1):
            for name, (program, said) in programs.items():
                answers[name].append(_turn(name, program, said))
                bar.update()
    return answers


@contextlib.contextmanager
def _started(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen, TextIO]]:
    """Starts a program, which ends with the context; yields it and the file of its stderr."""
    with tempfile.TemporaryFile("w+") as said:
        program = subprocess.Popen(
            [*command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True
        )
        try:
            yield program, said
        finally:
            program.kill()
            program.communicate()


def _turn(name: str, program: subprocess.Popen, said: TextIO) -> dict[str, Any]:
    assert program.stdin is not None
    assert program.stdout is not None
    # A program that has ended says why on stderr, which is shown below.
    with contextlib.suppress(BrokenPipeError):
        program.stdin.write("go\n")
        program.stdin.flush()
    line = program.stdout.readline()
    if not line:
        program.wait()
        said.seek(0)
        last = (said.read().strip().splitlines() or ["it said nothing"])[-1]
        raise JaxmapError(f"{name} ended early: {last}")
    return json.loads(line)


def serve(prepare: Callable[[], Callable[[], dict[str, Any]]]) -> None:
    """Called by a program: prepares once, then does the work once for each line on stdin.

    An answer has what the work returns and `seconds`, `load` (seconds of `prepare`), `peak_mib`
    (peak resident memory of the process so far) and, on Linux, `work_mib` (the peak since
    `prepare` beyond what was resident at its end).
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever libraries print is no answer
    started = time.perf_counter()
    work = prepare()
    load = time.perf_counter() - started
    loading_mib, resident_mib = _peak_mib(), _forget_peak()
    for _ in sys.stdin:
        started = time.perf_counter()
        found = work()
        seconds = time.perf_counter() - started
        working_mib = _peak_mib()
        answer = {**found, "seconds": seconds, "load": load}
        answer["peak_mib"] = max(loading_mib, working_mib)
        if resident_mib is not None:
            answer["work_mib"] = working_mib - resident_mib
        print(json.dumps(answer), file=answers, flush=True)


def _peak_mib() -> float:
    """The largest resident memory, in MiB, since the program began or `_forget_peak` was called."""
    if _STATUS.exists():
        return _status_mib("VmHWM")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)


def _forget_peak() -> float | None:
    """Resets the peak; returns the resident memory, in MiB, or None where that is impossible."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status_mib("VmRSS")


def _status_mib(what: str) -> float:
    lines = _STATUS.read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what)) / 1024

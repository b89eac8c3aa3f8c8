"""jaxmap as a program whose processes stop before a batch, so that a test finds them at work.

    python held.py FOLDER ARGUMENTS...

Each process writes FOLDER/PID.held before its third batch. It goes on once FOLDER/go exists, or
once it was told to stop, which it notes as FOLDER/PID.told. Where FOLDER/go exists already it does
not wait.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

BATCH = 3
LIMIT_S = 900.0  # nothing waits for ever, whatever becomes of the test


class Hold:
    """The folder, as the test sees it."""

    def __init__(self, folder: Path):
        self.folder = folder
        folder.mkdir(exist_ok=True)

    def held(self) -> set[int]:
        """The processes that stopped before a batch."""
        return {int(path.stem) for path in self.folder.glob("*.held")}

    def told(self) -> set[int]:
        """Those that were told to stop meanwhile; JAX does not show it of several processes."""
        return {int(path.stem) for path in self.folder.glob("*.told")}

    def go(self) -> None:
        (self.folder / "go").touch()


def main() -> None:
    folder = Path(sys.argv.pop(1))
    from jaxmap.engine import scorer

    score_batch, begun = scorer.Scorer.score_batch, 0

    def held(*arguments: Any, **options: Any) -> Any:
        nonlocal begun
        begun += 1
        if begun == BATCH and not (folder / "go").exists():
            wait(folder)
        return score_batch(*arguments, **options)

    scorer.Scorer.score_batch = held  # type: ignore[method-assign]
    from jaxmap.cli import main

    main()


def wait(folder: Path) -> None:
    handler = signal.getsignal(signal.SIGTERM)  # jaxmap's own is gone once it was called
    (folder / f"{os.getpid()}.held").touch()
    deadline = time.monotonic() + LIMIT_S
    while not (folder / "go").exists():
        if signal.getsignal(signal.SIGTERM) != handler:
            (folder / f"{os.getpid()}.told").touch()
            return
        if time.monotonic() > deadline:
            sys.exit("held for too long")
        time.sleep(0.02)


if __name__ == "__main__":
    main()

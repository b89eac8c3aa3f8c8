"""The launchers for mpirun and ssh, with a real Open MPI and a real sshd on this machine."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from support import REPOSITORY, held
from support.checkpoints import caches
from support.held import Hold
from support.slurm import until
from support.sshd import Sshd, is_installed
from support.sweeps import contents, is_clean

from jaxmap.store import Store

pytestmark = pytest.mark.slow
needs_mpi = pytest.mark.skipif(not shutil.which("mpirun"), reason="needs openmpi-bin")
needs_ssh = pytest.mark.skipif(not is_installed(), reason="needs openssh-server")

SECONDS = 400  # for what takes half a minute on an idle machine
# Notes its process and what the launcher told it, and becomes jaxmap.
WRAPPER = """#!/bin/bash
echo "$$ ${@: -1}" >> %(starts)s
export PYTHONPATH=%(repository)s XDG_CACHE_HOME=%(caches)s JAX_PLATFORMS=cpu
export XLA_FLAGS=%(flags)s
exec %(python)s %(program)s %(hold)s "$@"
"""
# Open MPI refuses root and more processes than cores unless it is told, and waits before it kills
# what has ended already.
MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
    "OMPI_MCA_odls_base_sigkill_timeout": "20",
}


class Launched:
    """A launcher's run of `jaxmap score`; ended, with all that it started, by `end`."""

    def __init__(self, launcher: str, flags: list[str], folder: Path, texts: Path,
                 models: list[Path], path: str = os.environ["PATH"]):  # fmt: skip
        self.store, self._starts = folder / "store", folder / "starts"
        self.hold = Hold(folder / "hold")
        wrapper = folder / "jaxmap"
        facts = dict(
            starts=self._starts, repository=REPOSITORY, caches=caches(), python=sys.executable,
            program=held.__file__, hold=self.hold.folder,
            flags=shlex.quote(os.environ.get("XLA_FLAGS", "")),  # which ssh does not pass on
        )  # fmt: skip
        wrapper.write_text(WRAPPER % facts)
        wrapper.chmod(0o755)
        self._starts.unlink(missing_ok=True)
        self._log = folder / "log"
        with open(self._log, "a") as log:
            self.process = subprocess.Popen(
                [sys.executable, REPOSITORY / "launch" / f"{launcher}.py", *flags,
                 f"--setup=export PATH={folder}:$PATH", "--", "score", f"--store={self.store}",
                 f"--texts={texts}", "--batch_tokens=128", "--save_every=0",
                 f"--models={','.join(map(str, models))}"],
                env={**os.environ, **MPI, "PATH": path, "PYTHONPATH": str(REPOSITORY)},
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def pids(self) -> list[int]:
        """Of jaxmap's processes, in the order of their starts."""
        lines = self._starts.read_text().splitlines() if self._starts.exists() else []
        return [int(line.split()[0]) for line in lines]

    def alive(self) -> list[int]:
        """Those that still run; a number may belong to another program by now."""
        found = []
        for pid in self.pids():
            with contextlib.suppress(psutil.Error):
                if str(self.store) in " ".join(psutil.Process(pid).cmdline()):
                    found.append(pid)
        return found

    def wait_for(self, count: int) -> list[int]:
        """Waits until so many of jaxmap's processes are in the middle of a model."""

        def are_held() -> bool:
            assert self.process.poll() is None, self.log()
            return len(self.hold.held()) == count

        until(are_held, SECONDS)
        return [pid for pid in self.pids() if pid in self.hold.held()]

    def strike(self, count: int, number: int) -> None:
        """Sends a signal to one of so many processes, all in the middle of a model; all go on."""
        os.kill(self.wait_for(count)[-1], number)
        self.hold.go()

    def code(self) -> int:
        """The launcher's exit code, once no process of jaxmap is left."""
        found = self.process.wait(SECONDS)
        until(lambda: not self.alive(), SECONDS)
        return found

    def log(self) -> str:
        return self._log.read_text()

    def end(self) -> None:
        self.process.kill()
        for pid in self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(60)


@pytest.fixture
def launch(tmp_path, texts):
    runs: list[Launched] = []

    def start(launcher, *flags, models, **options) -> Launched:
        runs.append(Launched(launcher, list(flags), tmp_path, texts, models, **options))
        return runs[-1]

    yield start
    for one in runs:
        one.end()


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    one = Sshd(tmp_path_factory.mktemp("ssh") / "server")
    try:
        yield one
    finally:
        one.stop()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def is_nearly(store: Path, clean: Path, models: list[Path]) -> None:
    """Whether scores are a clean run's but for the order of sums over processes."""
    ours, theirs = Store.open(store), Store.open(clean)
    for ref in map(str, models):
        a, b = (
            [one.load(e).vector for e in one.records() if e.identity.ref == ref]
            for one in (ours, theirs)
        )
        assert len(a) == len(b) == 1
        np.testing.assert_allclose(a[0], b[0], rtol=0, atol=1e-4)
    is_clean(store)


# mpirun ------------------------------------------------------------------------------------------


@needs_mpi
@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_a_rank_of_an_mpirun_that_is_ended(launch, models, clean, ranks, blow):
    run = launch(
        "mpi", f"--processes={ranks}", f"--coordinator=localhost:{free_port()}", models=models[:2]
    )
    run.strike(ranks, blow)
    assert run.code() == 0, run.log()
    # Processes that are told to stop agree on a batch, which may come after the last.
    assert len(run.pids()) in ({2 * ranks} if blow == signal.SIGKILL else {ranks, 2 * ranks})
    is_nearly(run.store, clean, models[:2])


@needs_mpi
def test_shares_of_an_mpirun(launch, models, clean):
    run = launch("mpi", "--processes=2", "--notogether", models=models)
    for pid in run.wait_for(2):  # which mpirun would bind to a core each
        assert psutil.Process(pid).cpu_affinity() == psutil.Process().cpu_affinity()
    run.strike(2, signal.SIGKILL)
    assert run.code() == 0, run.log()
    assert len(run.pids()) == 4
    assert contents(run.store) == contents(clean)
    is_clean(run.store)


@needs_mpi
def test_an_mpirun_that_is_told_to_stop_saves_and_is_resumed(launch, models, clean):
    flags = ("--processes=2", f"--coordinator=localhost:{free_port()}")
    run = launch("mpi", *flags, models=models[:2])
    run.wait_for(2)
    run.process.send_signal(signal.SIGTERM)
    run.hold.go()
    assert run.code() in (0, 75), run.log()  # they agree on a batch, which may come after the last
    assert "killed or lost" not in run.log()
    assert len(run.pids()) == 2
    again = launch("mpi", *flags, models=models[:2])
    assert again.code() == 0, again.log()
    is_nearly(again.store, clean, models[:2])


# ssh ---------------------------------------------------------------------------------------------


@needs_ssh
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM])
def test_shares_over_ssh(launch, sshd, models, clean, blow):
    run = launch("ssh", "--hosts=n1,n2", models=models, path=sshd.path)
    run.strike(2, blow)
    assert run.code() == 0, run.log()
    assert len(run.pids()) == 4
    assert contents(run.store) == contents(clean)
    is_clean(run.store)


@needs_ssh
def test_hosts_together_over_ssh(launch, sshd, models, clean):
    run = launch(
        "ssh", "--hosts=localhost,127.0.0.1", "--together", f"--port={free_port()}",
        models=models[:2], path=sshd.path,
    )  # fmt: skip
    run.strike(2, signal.SIGKILL)
    assert run.code() == 0, run.log()
    assert len(run.pids()) == 4
    is_nearly(run.store, clean, models[:2])


@needs_ssh
def test_a_connection_that_is_lost_leaves_nothing_behind(launch, sshd, models, clean):
    """What ran there saves and ends, and the launcher starts it again."""
    run = launch("ssh", "--hosts=n1", models=models[:2], path=sshd.path)
    first = run.wait_for(1)
    for pid in sshd.sessions():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: run.hold.told() == set(first), SECONDS)
    run.hold.go()
    assert run.code() == 0, run.log()
    assert "was killed or lost" in run.log()
    assert len(run.pids()) == 2
    is_nearly(run.store, clean, models[:2])


@needs_ssh
def test_an_ssh_launcher_that_is_told_to_stop_is_resumed(launch, sshd, models, clean):
    run = launch("ssh", "--hosts=n1,n2", models=models, path=sshd.path)
    run.wait_for(2)
    run.process.send_signal(signal.SIGTERM)
    assert run.code() == 75, run.log()
    assert len(run.hold.told()) == len(run.pids()) == 2
    run.hold.go()
    again = launch("ssh", "--hosts=n1,n2", models=models, path=sshd.path)
    assert again.code() == 0, again.log()
    assert contents(again.store) == contents(clean)
    is_clean(again.store)

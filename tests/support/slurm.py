"""A SLURM cluster of two nodes on this machine, for the tests: munge, slurmctld and two slurmd."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scontrol", "squeue")

_CONFIGURATION = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
SlurmUser=root
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdParameters=config_overrides
MpiDefault=none
SchedulerParameters=sched_interval=1,bf_interval=1
MinJobAge=600
SlurmdTimeout=10
KillWait=5
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 RealMemory=8000
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4 RealMemory=8000
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=main Nodes=n1,n2 Default=YES State=UP PriorityTier=1 GraceTime={grace}
PartitionName=urgent Nodes=n1,n2 State=UP PriorityTier=10 PreemptMode=OFF
"""

GRACE = 60
NODES = ("n1", "n2")


def is_installed() -> bool:
    """Whether the daemons are there and this process may start them."""
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    return os.geteuid() == 0 and all(shutil.which(program, path=path) for program in PROGRAMS)


class Cluster:
    """Two nodes, n1 and n2, of four CPUs each; nothing that runs outlives `stop`.

    Jobs in the partition "urgent" take the nodes from those in "main", which have GRACE seconds
    from SIGTERM to SIGKILL.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        (folder / "state").mkdir(parents=True)
        folder.chmod(0o755)
        key = folder / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        (folder / "slurm.conf").write_text(
            _CONFIGURATION.format(
                host=socket.gethostname().split(".")[0],
                folder=folder,
                ports=_free_ports(3),
                grace=GRACE,
            )
        )
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("SLURM")},
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
            "SLURM_CONF": str(folder / "slurm.conf"),
        }

    def start(self) -> None:
        files = {"key": "munge.key", "socket": "munge.socket", "log": "munged.log"}
        self.run(
            "munged", "--force", f"--pid-file={self.folder}/munged.pid",
            f"--seed-file={self.folder}/munge.seed",
            *(f"--{name}{'' if name == 'socket' else '-file'}={self.folder}/{file}"
              for name, file in files.items()),
        )  # fmt: skip
        self.run("slurmctld")
        for node in NODES:
            self.start_node(node)
        until(lambda: self.run("sinfo", "-h", "-t", "idle", "-o", "%D").strip() == "2", 60)

    def start_node(self, node: str) -> None:
        self.run("slurmd", "-N", node)

    def stop_node(self, node: str) -> None:
        """Kills a node and all that runs on it, as a power cut does."""
        self._signal(f"slurmd.{node}", signal.SIGKILL)
        for process in self._of_jobs(node):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        self.run("scancel", "--user=root", check=False)
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            until(self.ended, 60)
        daemons = [*(f"slurmd.{node}" for node in NODES), "slurmctld", "munged"]
        ending = [self._signal(name, signal.SIGTERM) for name in daemons]
        _, left = psutil.wait_procs([one for one in ending if one], timeout=60)
        for process in [*left, *(one for node in NODES for one in self._of_jobs(node))]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()

    def _of_jobs(self, node: str) -> list[psutil.Process]:
        """The processes of a node's jobs: SLURM's own, which listen in its folder, and theirs."""
        found: list[psutil.Process] = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.NoSuchProcess):
                if process.name() == "slurmstepd" and any(
                    str(one.laddr).startswith(f"{self.folder}/spool.{node}/")
                    for one in process.net_connections(kind="unix")
                ):
                    found += [process, *process.children(recursive=True)]
        return found

    def run(self, *command: str, check: bool = True) -> str:
        done = subprocess.run(
            command, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0 or not check, f"{command}: {done.stderr}"
        return done.stdout

    def states(self) -> dict[str, str]:
        """Job, or array element, -> its state (PENDING, RUNNING, COMPLETED, FAILED)."""
        lines = self.run("squeue", "-h", "-r", "-t", "all", "-o", "%i %T").splitlines()
        return dict(line.split() for line in lines)

    def ended(self) -> bool:
        states = self.states().values()
        return not {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED"} & set(states)

    def _signal(self, name: str, number: int) -> psutil.Process | None:
        """Sends a signal to a daemon of this cluster; None if it is not running."""
        try:
            process = psutil.Process(int((self.folder / f"{name}.pid").read_text()))
            process.send_signal(number)
        except (FileNotFoundError, psutil.NoSuchProcess):
            return None
        return process


def until(done: Callable[[], bool], seconds: float) -> None:
    """Waits until `done()`; AssertionError after so many seconds."""
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, f"not done after {seconds} s"
        time.sleep(0.5)


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()

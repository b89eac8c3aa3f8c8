"""Starts the processes with mpirun, of Open MPI or MPICH; JAX connects them itself.

    python launch/mpi.py --processes=16 --hostfile=hosts --coordinator=node1:8476 \\
        --folder=/shared/jaxmap --setup='source .venv/bin/activate' \\
        -- score --store=/shared/runs --texts=pile.jsonl --models=meta-llama/Meta-Llama-3-70B

The first host of the file coordinates. With --notogether each process does its share of the
models. mpirun's binding of processes to cores is turned off, so that one process uses a whole host.
A process that is told to stop has a minute to save its work.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import job
from absl import flags

from jaxmap.errors import InputError

_PROCESSES = flags.DEFINE_integer(
    "processes", None, "Number of processes.", lower_bound=1, required=True
)
_HOSTFILE = flags.DEFINE_string(
    "hostfile", None, "A file with one host per line, as mpirun reads it."
)
_TOGETHER = flags.DEFINE_boolean(
    "together", True, "Whether all processes hold each model together."
)
_COORDINATOR = flags.DEFINE_string(
    "coordinator",
    None,
    "host:port, with a free port of the first host; port 8476 of the hostfile's first if unset.",
)
_RESTARTS = flags.DEFINE_integer(
    "restarts", 100, "How many times it is run again when it asks for that.", lower_bound=0
)
_KILLS = flags.DEFINE_integer(
    "kills", 3, "How many of these times may be because a process was killed.", lower_bound=0
)
# Of Open MPI 4 and 5, unless they are set already; MPICH has none of them and reads none. Seconds
# from SIGTERM to SIGKILL pass even if all processes have ended before.
_ENVIRONMENT = {
    "OMPI_MCA_hwloc_base_binding_policy": "none",
    "PRTE_MCA_hwloc_default_binding_policy": "none",
    "OMPI_MCA_odls_base_sigkill_timeout": "60",
    "PRTE_MCA_odls_base_sigkill_timeout": "60",
}

_PORT = 8476
# Open MPI's name of a process's number, and MPICH's.
_RANK = '"${OMPI_COMM_WORLD_RANK:-$PMI_RANK}"'


def coordinator() -> str:
    """host:port of the first process. InputError for anything else, and for an empty hostfile."""
    if _COORDINATOR.value:
        host, _, port = _COORDINATOR.value.rpartition(":")
        if not host or not port.isdecimal():
            raise InputError(f"--coordinator={_COORDINATOR.value}: write host:port")
        return _COORDINATOR.value
    if not _HOSTFILE.value:
        return f"localhost:{_PORT}"
    try:
        lines = Path(_HOSTFILE.value).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"--hostfile={_HOSTFILE.value}: {error.strerror}") from None
    hosts = [line.split()[0] for line in lines if line.split("#")[0].strip()]
    if not hosts:
        raise InputError(f"--hostfile={_HOSTFILE.value}: names no host; write one a line")
    return f"{hosts[0].partition(':')[0]}:{_PORT}"


def mpirun(command: list[str]) -> list[str]:
    """The command that is executed: it starts a shell in each process, which knows its number."""
    count = _PROCESSES.value
    if _TOGETHER.value:
        address = f"--coordinator_address={shlex.quote(coordinator())}"
        own = f"{address} --num_processes={count} --process_id={_RANK}"
    else:
        own = f"--shard_index={_RANK} --shard_count={count}"
    hosts = ["--hostfile", _HOSTFILE.value] if _HOSTFILE.value else []
    work = job.shell(f"exec {shlex.join(command)} {own}")
    return ["mpirun", "-n", str(count), *hosts, "bash", "-c", work]


def main(command: list[str]) -> int:
    commands = {"mpirun": mpirun(command)}
    own = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    return job.execute_all(commands, _RESTARTS.value, _KILLS.value, own)


if __name__ == "__main__":
    job.run(main)

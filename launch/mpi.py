"""mpirun, of Open MPI or MPICH, starts the processes; JAX connects them itself.

    python launch/mpi.py --processes=16 --hostfile=hosts --coordinator=node1:8476 \\
        --folder=/shared/jaxmap --setup='source .venv/bin/activate' \\
        -- score --store=/shared/runs --texts=pile.jsonl --models=meta-llama/Meta-Llama-3-70B

The coordinator is the first host of the file. Without --together each process does its share.
"""

from __future__ import annotations

import shlex

import job
from absl import flags

_PROCESSES = flags.DEFINE_integer("processes", None, "How many.", lower_bound=1, required=True)
_HOSTFILE = flags.DEFINE_string("hostfile", None, "As mpirun reads it.")
_TOGETHER = flags.DEFINE_boolean("together", True, "All processes hold each model together.")
_COORDINATOR = flags.DEFINE_string(
    "coordinator", "localhost:8476", "host:port, with a free port of the first host."
)
_RESTARTS = flags.DEFINE_integer("restarts", 3, "Times to run it again when it asks for that.")

# Open MPI's name, and MPICH's.
_RANK = '"${OMPI_COMM_WORLD_RANK:-$PMI_RANK}"'


def mpirun(command: list[str]) -> list[str]:
    """What is executed: a shell in each process, which knows its number."""
    count = _PROCESSES.value
    if _TOGETHER.value:
        address = f"--coordinator_address={shlex.quote(_COORDINATOR.value)}"
        own = f"{address} --num_processes={count} --process_id={_RANK}"
    else:
        own = f"--shard_index={_RANK} --shard_count={count}"
    hosts = ["--hostfile", _HOSTFILE.value] if _HOSTFILE.value else []
    work = job.shell(f"exec {shlex.join(command)} {own}")
    return ["mpirun", "-n", str(count), *hosts, "bash", "-c", work]


def main(command: list[str]) -> int:
    return job.execute_all({"mpirun": mpirun(command)}, _RESTARTS.value)


if __name__ == "__main__":
    job.run(main)

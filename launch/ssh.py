"""Starts jaxmap on a list of hosts by ssh, without a scheduler.

Each host scores its share of the models:

    python launch/ssh.py --hosts=gpu1,gpu2,gpu3 \\
        --folder=/shared/jaxmap --setup='source .venv/bin/activate' \\
        -- sweep --config=configs/pythia.py --store=/shared/runs

A model that needs several hosts:

    python launch/ssh.py --hosts=gpu1,gpu2 --together \\
        --folder=/shared/jaxmap --setup='source .venv/bin/activate' \\
        -- score --store=/shared/runs --texts=pile.jsonl --models=meta-llama/Meta-Llama-3-70B
"""

from __future__ import annotations

import shlex

import job
from absl import flags

from jaxmap.errors import InputError

_HOSTS = flags.DEFINE_list(
    "hosts", None, "Hosts, separated by commas, as ssh knows them.", required=True
)
_TOGETHER = flags.DEFINE_boolean("together", False, "Whether all hosts hold each model together.")
_PORT = flags.DEFINE_integer("port", 8476, "With --together: a free port of the first host.")
_RESTARTS = flags.DEFINE_integer(
    "restarts", 100, "How many times all are run again when one asks for that.", lower_bound=0
)
_KILLS = flags.DEFINE_integer(
    "kills", 3, "How many of these times may be because one was killed or lost.", lower_bound=0
)


def commands(command: list[str]) -> dict[str, list[str]]:
    """The command for each host. Raises InputError for hosts that are empty or named twice."""
    hosts = _HOSTS.value
    if not hosts or not all(hosts):
        raise InputError(f"--hosts={','.join(hosts)}: write hosts with commas between, as in a,b")
    if len(set(hosts)) < len(hosts):
        raise InputError(f"--hosts={','.join(hosts)}: names a host twice")
    found = {}
    for index, host in enumerate(hosts):
        if _TOGETHER.value:
            own = [
                f"--coordinator_address={hosts[0].rpartition('@')[2]}:{_PORT.value}",
                f"--num_processes={len(hosts)}",
                f"--process_id={index}",
            ]
        else:
            own = [f"--shard_index={index}", f"--shard_count={len(hosts)}"]
        # -tt: what runs there gets SIGHUP when the connection ends, saves and is not left behind.
        found[host] = ["ssh", "-tt", host, job.shell(shlex.join([*command, *own]))]
    return found


def main(command: list[str]) -> int:
    return job.execute_all(commands(command), _RESTARTS.value, _KILLS.value)


if __name__ == "__main__":
    job.run(main)

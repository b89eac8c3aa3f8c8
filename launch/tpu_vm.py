"""Starts jaxmap on the hosts of a Cloud TPU slice, which hold each model together.

    python launch/tpu_vm.py --name=my-slice --zone=us-west4-a \\
        --folder=jaxmap --setup='source .venv/bin/activate' \\
        -- sweep --config=configs/pythia.py --store=/mnt/shared/runs

Several slices share a sweep: run it once for each, with another --shard_index.

    python launch/tpu_vm.py --name=slice-1 --zone=us-west4-a --folder=jaxmap \\
        --setup='source .venv/bin/activate' \\
        -- sweep --config=configs/pythia.py --store=/mnt/shared/runs --shard_index=1 --shard_count=4

JAX finds the hosts of a slice by itself. A preempted slice ends the command; once it is back, the
same command resumes.
"""

from __future__ import annotations

import shlex

import job
from absl import flags

_NAME = flags.DEFINE_string("name", None, "Name of the TPU VM.", required=True)
_ZONE = flags.DEFINE_string("zone", None, "Zone of the TPU VM.", required=True)
_PROJECT = flags.DEFINE_string("project", None, "Project of the TPU VM; gcloud's default if unset.")
_RESTARTS = flags.DEFINE_integer(
    "restarts", 100, "How many times it is run again when it asks for that.", lower_bound=0
)
_KILLS = flags.DEFINE_integer(
    "kills", 3, "How many of these times may be because a host was lost.", lower_bound=0
)


def main(command: list[str]) -> int:
    work = job.shell(shlex.join([*command, "--distributed"]))
    where = [f"--zone={_ZONE.value}", *([f"--project={_PROJECT.value}"] if _PROJECT.value else [])]
    gcloud = ["gcloud", "compute", "tpus", "tpu-vm", "ssh", _NAME.value, *where, "--worker=all"]
    commands = {_NAME.value: [*gcloud, f"--command={work}"]}
    return job.execute_all(commands, _RESTARTS.value, _KILLS.value)


if __name__ == "__main__":
    job.run(main)

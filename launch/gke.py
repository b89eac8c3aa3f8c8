"""Submits a JobSet of TPU slices to Google Kubernetes Engine, each with its share of the models.

    python launch/gke.py --name=pythia --image=REGION-docker.pkg.dev/PROJECT/REPO/jaxmap:0.1 \\
        --accelerator=tpu-v5-lite-podslice --topology=4x4 --slices=4 \\
        --claim=shared-disk --mount=/shared \\
        -- sweep --config=configs/pythia.py --store=/shared/runs

The hosts of a slice hold each model together; slices are independent. Pods that are preempted get
SIGTERM and two minutes: the run saves, ends with code 75, and the JobSet starts it again.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from typing import Any

import job
from absl import flags

from jaxmap.errors import InputError

_NAME = flags.DEFINE_string("name", "jaxmap", "Name of the JobSet.")
_IMAGE = flags.DEFINE_string(
    "image", None, "A container image with jaxmap and jax[tpu].", required=True
)
_ACCELERATOR = flags.DEFINE_string(
    "accelerator", None, "Label gke-tpu-accelerator of the node pools.", required=True
)
_TOPOLOGY = flags.DEFINE_string(
    "topology", None, "Label gke-tpu-topology of the node pools, as in 4x4.", required=True
)
_CHIPS = flags.DEFINE_integer("chips_per_host", 4, "Number of TPU chips of a host.", lower_bound=1)
_SLICES = flags.DEFINE_integer("slices", 1, "Number of slices, each with its share.", lower_bound=1)
_CLAIM = flags.DEFINE_string("claim", None, "A PersistentVolumeClaim for the store.")
_MOUNT = flags.DEFINE_string("mount", "/shared", "Where the claim is mounted.")
_RESTARTS = flags.DEFINE_integer("restarts", 100, "Times that the JobSet may start again.")

# A pod's name has 63 letters at most: the JobSet's, "-slice-", two numbers and five random letters.
_LONGEST_NAME = 40
_INDEX = "metadata.labels['jobset.sigs.k8s.io/job-index']"


def jobset(command: list[str]) -> dict[str, Any]:
    """The JobSet (jobset.x-k8s.io/v1alpha2).

    Raises InputError for a topology that is no grid and a name that Kubernetes refuses.
    """
    name = _NAME.value
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(name) > _LONGEST_NAME:
        raise InputError(
            f"--name={name}: write small letters, digits and hyphens, a letter first, at most "
            f"{_LONGEST_NAME}"
        )
    try:
        chips = math.prod(int(size) for size in _TOPOLOGY.value.split("x"))
    except ValueError:
        raise InputError(f"--topology={_TOPOLOGY.value}: write a grid, as in 4x4") from None
    if chips % _CHIPS.value and chips > _CHIPS.value:
        raise InputError(f"--chips_per_host={_CHIPS.value}: does not divide the {chips} chips")
    hosts = max(1, chips // _CHIPS.value)
    share = f' --shard_index="$JOBSET_INDEX" --shard_count={_SLICES.value}'
    together = " --distributed" if hosts > 1 else ""
    work = job.shell(f"exec {shlex.join(command)}{share if _SLICES.value > 1 else ''}{together}")
    container: dict[str, Any] = {
        "name": "jaxmap",
        "image": _IMAGE.value,
        "command": ["bash", "-c", work],
        "env": [{"name": "JOBSET_INDEX", "valueFrom": {"fieldRef": {"fieldPath": _INDEX}}}],
        "resources": {"limits": {"google.com/tpu": _CHIPS.value}},
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 120,
        "nodeSelector": {
            "cloud.google.com/gke-tpu-accelerator": _ACCELERATOR.value,
            "cloud.google.com/gke-tpu-topology": _TOPOLOGY.value,
        },
        "containers": [container],
    }
    if _CLAIM.value:
        container["volumeMounts"] = [{"name": "store", "mountPath": _MOUNT.value}]
        claim = {"claimName": _CLAIM.value}
        pod["volumes"] = [{"name": "store", "persistentVolumeClaim": claim}]
    work_of_a_slice = {
        "parallelism": hosts,
        "completions": hosts,
        "completionMode": "Indexed",
        "backoffLimit": 0,
        "template": {"spec": pod},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {
            "name": name,
            # Each slice has a node pool for itself.
            "annotations": {
                "alpha.jobset.sigs.k8s.io/exclusive-topology": "cloud.google.com/gke-nodepool"
            },
        },
        "spec": {
            "failurePolicy": {"maxRestarts": _RESTARTS.value},
            "replicatedJobs": [
                {
                    "name": "slice",
                    "replicas": _SLICES.value,
                    "template": {"spec": work_of_a_slice},
                }
            ],
        },
    }


def main(command: list[str]) -> int:
    # kubectl reads JSON as it reads YAML.
    manifest = json.dumps(jobset(command), indent=2) + "\n"
    return job.execute(["kubectl", "apply", "-f", "-"], stdin=manifest)


if __name__ == "__main__":
    job.run(main)

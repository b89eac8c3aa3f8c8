"""Submits a SLURM job: an array of independent workers, or one model over many GPUs.

Many checkpoints, each of which fits one GPU: 64 workers, each with its share of the models.

    python launch/slurm.py --shards=64 --gpus_per_task=1 --time=12:00:00 \\
        --folder=$PWD --setup='source .venv/bin/activate' \\
        -- sweep --config=configs/pythia.py --store=/shared/runs

One model over many GPUs: 2 nodes of 8 GPUs hold it together, with one process per GPU.

    python launch/slurm.py --nodes=2 --gpus_per_node=8 --time=4:00:00 \\
        --folder=$PWD --setup='source .venv/bin/activate' \\
        -- score --store=/shared/runs --texts=pile.jsonl --models=meta-llama/Meta-Llama-3-70B

Without GPUs a worker, or the processes of a node, get a node's CPUs and memory to themselves,
however many there are; --cpus_per_task asks for fewer.

Two minutes before the time limit SLURM sends SIGTERM: the run saves its work, ends with code 75 and
is put back into the queue, as it is when a node is lost. A process that is killed, by the
out-of-memory killer for example, is put back too, but not more than --kills times: what kills it
may be the checkpoint that it was working on.
"""

from __future__ import annotations

import shlex

import job
from absl import flags

from jaxmap.errors import InputError

_SHARDS = flags.DEFINE_integer(
    "shards", None, "Number of workers, one element of an array each.", lower_bound=1
)
_NODES = flags.DEFINE_integer(
    "nodes", None, "Number of nodes that hold each model together.", lower_bound=1
)
_GPUS_PER_NODE = flags.DEFINE_integer(
    "gpus_per_node", 0, "With --nodes: GPUs of each node, one process per GPU; 0 asks for none.",
    lower_bound=0,
)  # fmt: skip
_PER_NODE = flags.DEFINE_integer(
    "processes_per_node", 1, "With --nodes and without GPUs: processes on each node.", lower_bound=1
)
_GPUS_PER_TASK = flags.DEFINE_integer(
    "gpus_per_task", 0, "With --shards: GPUs of each worker; 0 asks for none.", lower_bound=0
)
_CPUS = flags.DEFINE_integer(
    "cpus_per_task",
    None,
    "CPU cores of each process. If unset: all of the node without GPUs, SLURM's default with them.",
    lower_bound=1,
)
_TIME = flags.DEFINE_string("time", "12:00:00", "Time limit of a job, as SLURM writes it.")
_NAME = flags.DEFINE_string("name", "jaxmap", "Name of the job.")
_RESTARTS = flags.DEFINE_integer(
    "restarts", 100, "How many times a job is put back into the queue.", lower_bound=0
)
_KILLS = flags.DEFINE_integer(
    "kills", 3, "How many of these times may be because a process was killed.", lower_bound=0
)
_OPTIONS = flags.DEFINE_multi_string(
    "option", [], "More #SBATCH options, such as --partition=gpu; may be given several times."
)

# The smallest node's share of a process: "4(x2),2" are the CPUs of three nodes.
_CPUS_OF_A_NODE = """\
cpus=$(echo "${{SLURM_JOB_CPUS_PER_NODE:-1}}" | tr , '\\n' | cut -d '(' -f 1 | sort -n | head -n 1)
cpus=$((cpus > {processes} ? cpus / {processes} : 1))
"""
# SLURM_JOB_ID of an array's element can be the id of the whole array, so that the element is named
# by both numbers. Of several processes srun returns the largest code: 128 and the signal for one
# that was killed.
AFTERWARDS = """\
job=$SLURM_JOB_ID
if [ -n "$SLURM_ARRAY_JOB_ID" ]; then
  job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
fi
restarts=${{SLURM_RESTART_COUNT:-0}}
if [ $code -ne {again} ] && [ $code -le 128 ]; then
  exit $code
fi
if [ $restarts -ge {restarts} ]; then
  echo "jaxmap: job $job was put back $restarts times, which is the limit (--restarts)"
  exit $code
fi
if [ $code -gt 128 ]; then
  echo "jaxmap: job $job: a process was killed by signal $((code - 128))" | tee -a jaxmap-$job.kills
  if [ $(wc -l < jaxmap-$job.kills) -gt {kills} ]; then
    echo "jaxmap: job $job is not put back again (--kills={kills}); jaxmap status says what it did"
    exit $code
  fi
fi
scontrol requeue $job
exit $code
"""


def script(command: list[str]) -> str:
    """The batch script.

    Raises InputError unless the flags ask for either an array or a job of several nodes.
    """
    shards, nodes, gpus = _SHARDS.value, _NODES.value, _GPUS_PER_NODE.value
    if (shards is None) == (nodes is None):
        raise InputError("give --shards (many models) or --nodes (one model over many GPUs)")
    if shards is not None and (gpus or _PER_NODE.value != 1):
        raise InputError(
            "--gpus_per_node and --processes_per_node go with --nodes; with --shards give "
            "--gpus_per_task"
        )
    if nodes is not None and _GPUS_PER_TASK.value:
        raise InputError("--gpus_per_task goes with --shards; with --nodes give --gpus_per_node")
    if gpus and _PER_NODE.value != 1:
        raise InputError("--processes_per_node: with --gpus_per_node there is a process per GPU")
    options = [
        f"--job-name={_NAME.value}",
        f"--time={_TIME.value}",
        "--requeue",
        "--open-mode=append",
        "--signal=TERM@120",
    ]
    if shards is not None:
        processes = 1
        options += [f"--array=0-{shards - 1}", "--ntasks=1", "--output=jaxmap-%A_%a.log"]
        if _GPUS_PER_TASK.value:
            options.append(f"--gpus-per-task={_GPUS_PER_TASK.value}")
        share = f'--shard_index="$SLURM_ARRAY_TASK_ID" --shard_count={shards}'
    else:
        processes = gpus or _PER_NODE.value
        options += [
            f"--nodes={nodes}",
            f"--ntasks-per-node={processes}",
            "--output=jaxmap-%j.log",
        ]
        if gpus:
            options.append(f"--gres=gpu:{gpus}")
        share = "--distributed"  # JAX finds the processes of an srun by itself
    # srun does not take over the --cpus-per-task of its job (since SLURM 22.05).
    srun, count = "srun --kill-on-bad-exit=1", ""
    if _CPUS.value is not None:
        options.append(f"--cpus-per-task={_CPUS.value}")
        srun += f" --cpus-per-task={_CPUS.value}"
    elif not gpus and not _GPUS_PER_TASK.value:
        options += ["--exclusive", "--mem=0"]
        count = _CPUS_OF_A_NODE.format(processes=processes)
        srun += " --cpus-per-task=$cpus"
    work = job.shell(f"{srun} {shlex.join(command)} {share}")
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in [*options, *_OPTIONS.value]),
            "",
            count + work,
            "code=$?",
            AFTERWARDS.format(again=job.AGAIN, restarts=_RESTARTS.value, kills=_KILLS.value),
        ]
    )


def main(command: list[str]) -> int:
    return job.execute(["sbatch"], stdin=script(command))


if __name__ == "__main__":
    job.run(main)

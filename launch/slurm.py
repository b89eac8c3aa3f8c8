"""SLURM: a sweep as an array of independent workers, or one model over many GPUs.

Many checkpoints, each of which fits one GPU: 64 workers, each with its share of the models.

    python launch/slurm.py --shards=64 --gpus_per_task=1 --time=12:00:00 \\
        --folder=$PWD --setup='source .venv/bin/activate' \\
        -- sweep --config=configs/pythia.py --store=/shared/runs

A model that needs several: 2 nodes of 8 GPUs hold it together, a process a GPU.

    python launch/slurm.py --nodes=2 --gpus_per_node=8 --time=4:00:00 \\
        --folder=$PWD --setup='source .venv/bin/activate' \\
        -- score --store=/shared/runs --texts=pile.jsonl --models=meta-llama/Meta-Llama-3-70B

Two minutes before the time is up SLURM sends SIGTERM: the run saves, ends with code 75 and is put
back into the queue, as it is when a node is lost.
"""

from __future__ import annotations

import shlex

import job
from absl import flags

from jaxmap.errors import InputError

_SHARDS = flags.DEFINE_integer("shards", None, "Workers of an array.", lower_bound=1)
_NODES = flags.DEFINE_integer("nodes", None, "Nodes that hold each model together.", lower_bound=1)
_GPUS_PER_NODE = flags.DEFINE_integer("gpus_per_node", 1, "With --nodes: GPUs of each.")
_GPUS_PER_TASK = flags.DEFINE_integer("gpus_per_task", 1, "With --shards: GPUs of a worker.")
_CPUS = flags.DEFINE_integer("cpus_per_task", 8, "CPU cores a process.")
_TIME = flags.DEFINE_string("time", "12:00:00", "Most time a job may take, as SLURM writes it.")
_NAME = flags.DEFINE_string("name", "jaxmap", "Of the job.")
_OPTIONS = flags.DEFINE_multi_string(
    "option", [], "More #SBATCH options, such as --partition=gpu; may be given several times."
)


def script(command: list[str]) -> str:
    """The batch script. InputError unless it is either an array or a job of several nodes."""
    if (_SHARDS.value is None) == (_NODES.value is None):
        raise InputError("give --shards (many models) or --nodes (one model over many GPUs)")
    options = [
        f"--job-name={_NAME.value}",
        f"--time={_TIME.value}",
        f"--cpus-per-task={_CPUS.value}",
        "--requeue",
        "--open-mode=append",
        "--signal=TERM@120",
    ]
    if _SHARDS.value is not None:
        options += [
            f"--array=0-{_SHARDS.value - 1}",
            "--ntasks=1",
            f"--gpus-per-task={_GPUS_PER_TASK.value}",
            "--output=jaxmap-%A_%a.log",
        ]
        share = f'--shard_index="$SLURM_ARRAY_TASK_ID" --shard_count={_SHARDS.value}'
    else:
        options += [
            f"--nodes={_NODES.value}",
            f"--ntasks-per-node={_GPUS_PER_NODE.value}",
            f"--gres=gpu:{_GPUS_PER_NODE.value}",
            "--output=jaxmap-%j.log",
        ]
        share = "--distributed"  # JAX finds the processes of an srun by itself
    work = job.shell(f"srun --kill-on-bad-exit=1 {shlex.join(command)} {share}")
    return "\n".join(
        [
            "#!/bin/bash",
            *(f"#SBATCH {option}" for option in [*options, *_OPTIONS.value]),
            "",
            work,
            "code=$?",
            f"if [ $code -eq {job.AGAIN} ]; then",
            '  scontrol requeue "$SLURM_JOB_ID"',
            "fi",
            "exit $code",
            "",
        ]
    )


def main(command: list[str]) -> int:
    return job.execute(["sbatch"], stdin=script(command))


if __name__ == "__main__":
    job.run(main)

"""The SLURM launcher on a real SLURM: what is put back into the queue, and what is not."""

from __future__ import annotations

import subprocess
import sys

import pytest
from support import REPOSITORY
from support.slurm import is_installed, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_installed(), reason="needs slurm-wlm, munge and root"),
]

# In jaxmap's place: notes each start, then does what the test wants of this share and this start.
STAND_IN = """#!/bin/bash
share=${SLURM_ARRAY_TASK_ID:-$SLURM_PROCID}
number=${SLURM_RESTART_COUNT:-0}
echo "$share $number" >> %(starts)s
case "$share $number" in
%(cases)s
esac
"""


@pytest.fixture
def submit(cluster, tmp_path):
    """Submits with the launcher; returns, once all has ended, each share's starts in order."""

    def run(*flags, cases, seconds=120):
        starts = tmp_path / "starts"
        stand_in = tmp_path / "jaxmap"
        stand_in.write_text(STAND_IN % {"starts": starts, "cases": cases})
        stand_in.chmod(0o755)
        launcher = REPOSITORY / "launch" / "slurm.py"
        done = subprocess.run(
            [sys.executable, launcher, "--time=10", f"--setup=export PATH={tmp_path}:$PATH",
             *flags, "--", "score", "--store=s", "--texts=t", "--models=m"],
            env={**cluster.environment, "PYTHONPATH": str(REPOSITORY)},
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        until(lambda: starts.exists() and cluster.ended(), seconds)
        found: dict[str, list[int]] = {}
        for line in starts.read_text().splitlines():
            share, number = line.split()
            found.setdefault(share, []).append(int(number))
        return found, {job.rpartition("_")[2]: state for job, state in newest(cluster).items()}

    return run


def newest(cluster):
    """The states of the job that was submitted last, by element."""
    states = cluster.states()
    last = max(int(job.partition("_")[0]) for job in states)
    return {job: state for job, state in states.items() if job.partition("_")[0] == str(last)}


def test_only_the_element_that_asks_for_it_is_put_back(submit):
    starts, states = submit("--shards=3", cases='"1 0") exit 75;;')
    assert starts == {"0": [0], "1": [0, 1], "2": [0]}
    assert set(states.values()) == {"COMPLETED"}


def test_a_killed_process_is_put_back_and_its_siblings_are_not(submit):
    starts, states = submit("--shards=3", cases='"2 0") kill -9 $$;;')
    assert starts == {"0": [0], "1": [0], "2": [0, 1]}
    assert set(states.values()) == {"COMPLETED"}


def test_what_kills_it_every_time_is_not_repeated_for_ever(submit):
    starts, states = submit("--shards=2", "--kills=2", cases='"0 "*) kill -9 $$;;')
    assert starts == {"0": [0, 1, 2], "1": [0]}
    assert states == {"0": "FAILED", "1": "COMPLETED"}


def test_a_failure_is_not_repeated(submit):
    starts, states = submit("--shards=2", cases='"0 0") exit 1;;')
    assert starts == {"0": [0], "1": [0]}
    assert states == {"0": "FAILED", "1": "COMPLETED"}


def test_restarts_have_a_limit(submit):
    starts, states = submit("--shards=1", "--restarts=2", cases='"0 "*) exit 75;;')
    assert starts == {"0": [0, 1, 2]}
    assert states == {"0": "FAILED"}


@pytest.mark.parametrize("end", ["exit 75", "kill -9 $$"])
def test_of_several_ranks_one_is_enough(submit, end):
    cases = f'"1 0") sleep 1; {end};;\n*" 0") sleep 60;;'
    starts, states = submit("--nodes=2", "--processes_per_node=2", cases=cases)
    assert starts == {str(rank): [0, 1] for rank in range(4)}
    assert set(states.values()) == {"COMPLETED"}

"""jaxmap itself on a real SLURM of two nodes: whatever happens, the store of a clean run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support import REPOSITORY, held
from support.checkpoints import caches
from support.held import Hold
from support.slurm import Cluster, is_installed, until
from support.sweeps import contents, is_clean

from jaxmap.store import Store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not is_installed(), reason="needs slurm-wlm, munge and root"),
]

# Notes its process, share and restart, and becomes jaxmap, which stops in the middle of a model.
# The nodes of these tests have names that no resolver knows, and JAX asks for the first of them.
WRAPPER = """#!/bin/bash
share=${SLURM_ARRAY_TASK_ID:-$SLURM_PROCID}
echo "$share ${SLURM_RESTART_COUNT:-0} $$" >> %(starts)s
export PYTHONPATH=%(repository)s XDG_CACHE_HOME=%(caches)s JAX_PLATFORMS=cpu
export SLURM_STEP_NODELIST=localhost
exec %(python)s %(program)s %(hold)s "$@"
"""
SECONDS = 300  # for what takes half a minute on an idle machine


class Job:
    """A job of the launcher's, of `jaxmap score` of all models into one store."""

    def __init__(self, cluster: Cluster, folder: Path, texts: Path, models: list[Path], *flags):
        self.cluster, self.store = cluster, folder / "store"
        self._starts = folder / "starts"
        self.hold = Hold(folder / "hold")
        wrapper = folder / "jaxmap"
        facts = dict(
            starts=self._starts, repository=REPOSITORY, caches=caches(), python=sys.executable,
            program=held.__file__, hold=self.hold.folder,
        )  # fmt: skip
        wrapper.write_text(WRAPPER % facts)
        wrapper.chmod(0o755)
        launcher = REPOSITORY / "launch" / "slurm.py"
        done = subprocess.run(
            [sys.executable, launcher, "--time=30", f"--setup=export PATH={folder}:$PATH", *flags,
             "--", "score", f"--store={self.store}", f"--texts={texts}", "--batch_tokens=128",
             f"--models={','.join(map(str, models))}", "--save_every=0"],
            env={**cluster.environment, "PYTHONPATH": str(REPOSITORY)},
            cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        self._id = done.stdout.split()[-1]  # Submitted batch job 7

    def starts(self) -> list[tuple[str, int, int]]:
        """Share or rank, number of the restart and process of each start, in order."""
        lines = self._starts.read_text().splitlines() if self._starts.exists() else []
        return [(share, int(number), int(pid)) for share, number, pid in map(str.split, lines)]

    def wait_for(self, *shares: str) -> list[int]:
        """Waits until these shares or ranks are in the middle of a model; their processes."""
        found: list[int] = []

        def are_held() -> bool:
            found[:] = [pid for share, number, pid in self.starts()
                        if share in shares and number == 0 and pid in self.hold.held()]  # fmt: skip
            assert not self.ended(), self.log()
            return len(found) == len(shares)

        until(are_held, SECONDS)
        return found

    def ended(self) -> bool:
        return bool(self.starts()) and self.cluster.ended()

    def wait(self) -> list[str]:
        """Waits for the end; the last states of the job's elements."""
        until(self.ended, SECONDS)
        states = self.cluster.states()
        return [state for job, state in states.items() if job.partition("_")[0] == self._id]

    def log(self) -> str:
        return "\n".join(path.read_text() for path in self._starts.parent.glob("jaxmap-*.log"))


@pytest.mark.parametrize("blow", [signal.SIGTERM, signal.SIGKILL])
def test_an_array_of_workers(cluster, models, texts, clean, tmp_path, blow):
    job = Job(cluster, tmp_path, texts, models, "--shards=3")
    os.kill(*job.wait_for("1"), blow)
    job.hold.go()
    assert set(job.wait()) == {"COMPLETED"}, job.log()
    assert [share for share, number, _ in job.starts() if number] == ["1"]
    assert contents(job.store) == contents(clean)
    is_clean(job.store)


def test_the_time_limit(cluster, models, texts, tmp_path):
    """SLURM tells a worker to stop two to three minutes before its limit of five."""
    job = Job(cluster, tmp_path, texts, models[:2], "--shards=1", "--time=5")
    pids = job.wait_for("0")
    until(lambda: job.hold.told() == set(pids), SECONDS)
    job.hold.go()
    assert set(job.wait()) == {"COMPLETED"}, job.log()
    assert [number for _, number, _ in job.starts()] == [0, 1]
    assert "killed by signal" not in job.log()
    is_clean(job.store)
    assert {entry.identity.ref for entry in Store.open(job.store).records()} == {
        str(model) for model in models[:2]
    }


def test_preemption_by_a_partition_of_higher_priority(cluster, models, texts, clean, tmp_path):
    """Workers whose nodes are wanted save and wait; when the nodes are free again they go on."""
    job = Job(cluster, tmp_path, texts, models, "--shards=2", "--option=--partition=main")
    pids = job.wait_for("0", "1")
    urgent = cluster.run(
        "sbatch", "--parsable", "--partition=urgent", "--nodes=2", "--exclusive",
        f"--output={tmp_path}/urgent.log", "--wrap=srun hostname",
    ).strip()  # fmt: skip
    until(lambda: job.hold.told() == set(pids), SECONDS)
    job.hold.go()
    until(lambda: cluster.states().get(urgent) == "COMPLETED", SECONDS)
    assert set(job.wait()) == {"COMPLETED"}, job.log()
    assert {share for share, number, _ in job.starts() if number} == {"0", "1"}, job.starts()
    assert "finishing the batch and saving" in job.log()
    assert contents(job.store) == contents(clean)
    is_clean(job.store)


def test_a_node_that_goes_down_and_comes_back(cluster, models, texts, clean, tmp_path):
    job = Job(cluster, tmp_path, texts, models, "--shards=3", "--option=--exclusive")
    job.wait_for("0", "1")
    shares = [line.split() for line in cluster.run("squeue", "-hr", "-o", "%K %N").splitlines()]
    lost = {share for share, *nodes in shares if nodes == ["n2"]}
    cluster.stop_node("n2")
    until(lambda: cluster.run("sinfo", "-h", "-n", "n2", "-o", "%T").startswith("down"), SECONDS)
    job.hold.go()
    cluster.start_node("n2")
    cluster.run("scontrol", "update", "NodeName=n2", "State=RESUME", check=False)
    assert set(job.wait()) == {"COMPLETED"}, job.log()
    assert {share for share, number, _ in job.starts() if number} == lost
    assert len(lost) == 1  # and the share of n1 went on
    assert contents(job.store) == contents(clean)
    is_clean(job.store)


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_rank_that_is_killed(cluster, models, texts, clean, tmp_path, ranks):
    per_node = f"--processes_per_node={ranks // 2}"
    job = Job(cluster, tmp_path, texts, models[:2], "--nodes=2", per_node)
    pids = job.wait_for(*map(str, range(ranks)))
    os.kill(pids[1], signal.SIGKILL)
    job.hold.go()
    assert job.wait() == ["COMPLETED"], job.log()
    assert {number for _, number, _ in job.starts()} == {0, 1}
    ours, theirs = Store.open(job.store), Store.open(clean)
    for ref in map(str, models[:2]):
        a, b = (
            next(store.load(e).vector for e in store.records() if e.identity.ref == ref)
            for store in (ours, theirs)
        )
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-4)
    is_clean(job.store)


def test_a_full_disk(cluster, models, texts, clean, tmp_path):
    """Workers end with one line; with room the same command makes the store of a clean run."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("cannot mount a small disk here")
    try:
        (disk / "store").mkdir()
        (tmp_path / "store").symlink_to(disk / "store")
        job = Job(cluster, tmp_path, texts, models, "--shards=2")
        job.hold.go()
        assert set(job.wait()) == {"FAILED"}, job.log()
        assert "the disk is full" in job.log()
        assert "Traceback" not in job.log()
        subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
        (tmp_path / "starts").unlink()
        job = Job(cluster, tmp_path, texts, models, "--shards=2")
        assert set(job.wait()) == {"COMPLETED"}, job.log()
        assert contents(job.store) == contents(clean)
    finally:
        subprocess.run(["umount", "-l", disk], check=False)

"""The page for newcomers to clusters: its commands, one after the other, on a real SLURM."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from support import REPOSITORY
from support.checkpoints import caches, make_checkpoint
from support.slurm import is_installed, until

from jaxmap.store import Store

PAGE = REPOSITORY / "docs" / "first-cluster-run.md"
HUB = "EleutherAI/pythia-14m"
STEPS = (0, 1, 16, 512, 1000, 143000)
# The environment that the page makes by pip.
PROGRAM = """#!/bin/bash
export PYTHONPATH={repository} XDG_CACHE_HOME={caches} JAX_PLATFORMS=cpu
exec {python} {module} "$@"
"""


def commands() -> list[str]:
    """The lines of the numbered steps, from the texts on."""
    text = PAGE.read_text("utf-8").partition("## What each file is")[0]
    blocks = re.findall(r"^ *```\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    assert "git clone" in blocks[0]
    lines = re.sub(r" *\\\n *", " ", "".join(blocks[1:])).splitlines()
    return [line.strip() for line in lines]


def test_the_page_goes_from_texts_to_a_report():
    kinds = [re.search(r"jaxmap \w+|launch/slurm\.py|squeue", line)[0] for line in commands()]
    assert kinds == ["jaxmap texts", "launch/slurm.py", "launch/slurm.py", "squeue",
                     "jaxmap status", "jaxmap kl", "jaxmap report"]  # fmt: skip
    dry, real = (line for line in commands() if "launch/slurm.py" in line)
    assert dry.replace(" --dry_run", "") == real
    named = re.search(r"@step\{([\d,]+)\}", real)[1]
    assert tuple(map(int, named.split(","))) == STEPS


@pytest.mark.slow
@pytest.mark.skipif(not is_installed(), reason="needs slurm-wlm, munge and root")
def test_the_commands_of_the_page_one_after_the_other(cluster, tmp_path):
    for step in STEPS:
        make_checkpoint(tmp_path / "model" / f"step{step}", seed=step % 97)
    (tmp_path / "launch").symlink_to(REPOSITORY / "launch")
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    (binaries / "activate").write_text(f"export PATH={binaries}:$PATH\n")
    for name, module in (("jaxmap", "-m jaxmap"), ("python", "")):
        (binaries / name).write_text(
            PROGRAM.format(
                repository=REPOSITORY, caches=caches(), python=sys.executable, module=module
            )
        )
        (binaries / name).chmod(0o755)
    environment = {**cluster.environment, "PYTHONPATH": str(REPOSITORY)}
    environment["PATH"] = f"{binaries}:{environment['PATH']}"
    for line in commands():
        line = line.replace(HUB, str(tmp_path / "model"))
        done = subprocess.run(
            ["bash", "-ec", line], env=environment, cwd=tmp_path, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if line.startswith("squeue"):
            until(cluster.ended, 600)
            logs = "".join(path.read_text() for path in tmp_path.glob("jaxmap-*.log"))
            assert set(cluster.states().values()) == {"COMPLETED"}, logs
    assert len(Store.open(tmp_path / "runs").records()) == len(STEPS)
    made = {path.name for path in tmp_path.iterdir()}
    assert {"texts.jsonl", "kl.csv", "report.html", "runs"} <= made
    assert sum(bool(re.fullmatch(r"jaxmap-\d+_[01]\.log", name)) for name in made) == 2
    assert len((tmp_path / "kl.csv").read_text().splitlines()) == len(STEPS)
    assert os.path.getsize(tmp_path / "report.html") > 10_000

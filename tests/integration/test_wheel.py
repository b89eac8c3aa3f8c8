"""The wheel alone, in an environment that has only what it asks for, runs the demo."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from support import REPOSITORY

CONFIG = """
from ml_collections import ConfigDict
from jaxmap.demos.settings import DemoConfig, Size, to_dict

def get_config():
    return ConfigDict(to_dict(DemoConfig(
        texts=12, min_bytes=64, max_bytes=160, train_bytes=60_000, vocabulary=320,
        context=192, window=96, rows=2, steps=12, warmup=4, every=4, early=4, seeds=2,
        sizes={"xs": Size(width=16, layers=1, heads=1, learning_rate=2e-2)},
        lens=False, quantize=(), dtypes=(), finetune_steps=0,
    )))
"""


def run(*command: str | Path, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, timeout=1800,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return done


@pytest.mark.slow  # builds an environment: some minutes, and the package index
def test_the_wheel_runs_the_demo_in_a_bare_environment(tmp_path):
    made = tmp_path / "dist"
    run("make", "wheel", f"PYTHON={sys.executable}", f"VENV={tmp_path}/build", f"DIST={made}")
    [wheel] = made.glob("jaxmap-*.whl")
    tracked = run("git", "ls-files", "jaxmap").stdout.split()
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
    assert names >= set(tracked), sorted(set(tracked) - names)
    assert {name.split("/")[0].split("-")[0] for name in names} == {"jaxmap"}

    bare = tmp_path / "bare"
    run(sys.executable, "-m", "venv", bare)
    run(bare / "bin/python", "-m", "pip", "install", "--quiet", wheel)
    (tmp_path / "tiny.py").write_text(CONFIG)
    shell = bare / "bin/jaxmap"
    for missing in ("torch", "datasets", "pytest"):
        found = f"import importlib.util as u; assert u.find_spec({missing!r}) is None"
        run(bare / "bin/python", "-c", found, cwd=tmp_path)
    done = run(shell, "demo", "--out=demo", "--config=tiny.py", cwd=tmp_path)
    assert "report.html" in done.stdout
    assert (tmp_path / "demo" / "report.html").stat().st_size > 10_000
    assert "0 failed" in done.stdout or "failed" not in done.stdout
    again = run(shell, "status", f"--store={tmp_path}/demo/store", cwd=tmp_path)
    assert "failed      0" in again.stdout
    assert "missing     0" in again.stdout
    home = run(bare / "bin/python", "-c", "import jaxmap; print(jaxmap.__file__)", cwd=tmp_path)
    assert Path(home.stdout.strip()).is_relative_to(bare)

"""Compilers for devices that need not be present: libtpu and the CUDA plugin."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import REPOSITORY, TESTS

# Where the Makefile puts libtpu. Among the packages JAX would start it in every process.
_LIBTPU = Path(sys.prefix) / "libtpu"


def run_for(platform: str, *arguments: str, timeout: int = 900) -> subprocess.CompletedProcess:
    """Runs Python in the repository, in a process that can compile for a platform.

    Skips the test on a machine without the compiler.

    Args:
      platform: tpu or gpu.
      arguments: those of Python.
      timeout: the longest time in seconds.
    """
    compiler = {"tpu": "libtpu", "gpu": "jax_plugins"}[platform]
    folders = [str(REPOSITORY), str(TESTS)]
    if importlib.util.find_spec(compiler) is None:
        if platform != "tpu" or not (_LIBTPU / "libtpu").is_dir():
            pytest.skip(f"needs {compiler}")
        folders.append(str(_LIBTPU))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(folders)},
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )

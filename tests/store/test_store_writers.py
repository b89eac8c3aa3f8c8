"""Stores that several processes write, and writers that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from support import TESTS
from support.stores import filled, record, texts

from jaxmap.store import Store

TEXTS = texts()


WRITER = """
import os, signal, sys, time
import numpy as np
from support.stores import record, texts
from jaxmap.store import Store
path, start, count, point = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
real = {"fsync": os.fsync, "replace": os.replace}
def die(*args):
    if added >= 3: os.kill(os.getpid(), signal.SIGKILL)
    return real[point](*args)
added = 0
TEXTS = texts(2000)
if point in real: setattr(os, point, die)
store = Store.create(path, TEXTS)
print("ready", flush=True)
for number in range(start, start + count):
    store.add(record(TEXTS, "ä b/c", f"step{number}"))
    added += 1
"""


def writer(path, start, count, point="none"):
    command = [sys.executable, "-c", WRITER, str(path), str(start), str(count), point]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True)


def check_after_kill(path, at_least):
    of = texts(2000)
    store = Store.open(path)
    found = store.records()
    assert store.corrupt() == {}
    assert len(found) >= at_least
    for number, entry in enumerate(found):
        expected = record(of, "ä b/c", f"step{number}")
        assert entry.identity == expected.identity
        np.testing.assert_array_equal(store.load(entry).log_likelihood, expected.log_likelihood)
    Store.create(path, of)
    assert list(path.rglob(".*.tmp")) == []
    return len(found)


@pytest.mark.parametrize("point", ["fsync", "replace"])
def test_killed_while_writing(tmp_path, point):
    with writer(tmp_path / "s", 0, 10, point) as process:
        assert process.wait(60) == -signal.SIGKILL
    assert len(list((tmp_path / "s").rglob(".*.tmp"))) == 1
    assert check_after_kill(tmp_path / "s", 3) == 3


@pytest.mark.parametrize("delay", [0.003, 0.017, 0.071])
def test_killed_at_some_moment(tmp_path, delay):
    with writer(tmp_path / "s", 0, 100_000) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.kill()
        process.wait(60)
    check_after_kill(tmp_path / "s", 0)


def test_two_processes_write_one_store(tmp_path):
    path = tmp_path / "s"
    with writer(path, 0, 25) as one, writer(path, 15, 25) as two:  # 10 records by both
        assert one.wait(60) == 0
        assert two.wait(60) == 0
    assert check_after_kill(path, 40) == 40


def test_results_of_other_processes_are_seen(tmp_path):
    reader = Store.create(tmp_path, TEXTS)
    one = record(TEXTS)
    assert reader.find(one.identity) is None
    filled(tmp_path, TEXTS, one)
    assert reader.find(one.identity) is not None
    assert [entry.label for entry in reader.records()] == ["org/name"]

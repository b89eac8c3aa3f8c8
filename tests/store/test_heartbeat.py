"""Who works on a store: told by files, judged without comparing clocks."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest

from jaxmap.store import heartbeat
from jaxmap.store.heartbeat import Heartbeat, Workers

WORKER = """
import sys, time
from pathlib import Path
from jaxmap.store.heartbeat import Heartbeat
with Heartbeat(Path(sys.argv[1]), 3, "jaxmap sweep", interval=0.05) as beat:
    beat.begin("a@step1")
    beat.texts(40, 100)
    print(beat.name, flush=True)
    time.sleep(60)
"""


def rewrite(folder, name, **changes):
    path = folder / "workers" / f"{name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return path


def start(folder):
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder)], stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()


def until(condition, seconds=300.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_a_worker_tells(tmp_path):
    with Heartbeat(tmp_path, 5, "jaxmap score", interval=0.02) as beat:
        beat.begin("a")
        beat.texts(10, 50)
        beat.texts(50, 50)
        beat.end("a", "scored", 2.0)
        beat.end("b", "found")
        beat.begin("c")
        beat.end("c", "failed")
        beat.begin("d")
        beat.texts(25, 50)
        (first,) = Workers(tmp_path).seen()
        until(lambda: Workers(tmp_path).seen()[0].worker.beat > first.worker.beat + 2)
        ((worker, age, lives),) = [(s.worker, s.age, s.lives) for s in Workers(tmp_path).seen()]
        assert lives
        assert 0 <= age < 60
        assert (worker.scored, worker.found, worker.failed, worker.total) == (1, 1, 1, 5)
        assert (worker.item, worker.texts, worker.texts_of) == ("d", 25, 50)
        assert worker.all_texts == 75
        assert worker.items_per_second == pytest.approx(2.5 / worker.seconds)
        assert worker.texts_per_second == pytest.approx(75 / worker.seconds)
        assert Workers(tmp_path).alive(beat.name)
    assert Workers(tmp_path).seen() == []
    assert not Workers(tmp_path).alive(beat.name)
    assert list((tmp_path / "workers").iterdir()) == []


def test_killed_and_cleaned_up(tmp_path):
    """kill -9 leaves the file: gone at the next look, removed by the next worker."""
    process, name = start(tmp_path)
    workers = Workers(tmp_path)
    assert workers.alive(name)
    until(lambda: workers.seen()[0].worker.texts == 40)
    process.send_signal(signal.SIGKILL)
    until(lambda: not workers.alive(name))  # although nobody has asked how it ended
    process.wait()
    process.stdout.close()
    assert not workers.alive(name)
    (seen,) = workers.seen()
    assert not seen.lives
    assert (seen.worker.item, seen.worker.texts) == ("a@step1", 40)
    with Heartbeat(tmp_path, 1) as beat:
        assert [seen.worker.name for seen in workers.seen()] == [beat.name]


def test_a_number_given_out_again(tmp_path):
    """Another process of the same number is not the worker."""
    with Heartbeat(tmp_path, 1, interval=60) as beat:
        assert Workers(tmp_path).alive(beat.name)
        rewrite(tmp_path, beat.name, started=12345)
        assert not Workers(tmp_path).alive(beat.name)
        rewrite(tmp_path, beat.name, pid=2**22 + 1)
        assert not Workers(tmp_path).alive(beat.name)


def test_elsewhere_it_lives_while_its_file_changes(tmp_path, monkeypatch):
    """By our own steady clock alone: no other clock, no process number, no file time counts."""
    with Heartbeat(tmp_path, 1, interval=600) as beat:
        path = rewrite(tmp_path, beat.name, place="another machine", pid=1, started=7, beat=1)
    path.write_text(json.dumps({"format": 1}))
    assert Workers(tmp_path).seen() == []  # not a worker's file

    now = 1000.0
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: now)
    with Heartbeat(tmp_path, 1, interval=600) as beat:
        name = beat.name
        away = dict(place="another machine", pid=os.getpid(), clock=1e9)
        path = rewrite(tmp_path, name, **away, beat=1)
        os.utime(path, (0, 0))  # the clock went far back
        workers = Workers(tmp_path, lost=60)
        (seen,) = workers.seen()
        assert seen.lives
        assert math.isnan(seen.age)
        now += 59
        (seen,) = workers.seen()
        assert seen.lives
        assert seen.age == 59
        now += 2
        assert not workers.alive(name)
        assert Workers(tmp_path, lost=60).alive(name)  # who just came cannot know
        rewrite(tmp_path, name, **away, beat=2)
        os.utime(path, (4e9, 4e9))  # and far forward
        (seen,) = workers.seen()
        assert seen.lives
        assert seen.age == 0


def test_age(tmp_path):
    started = time.monotonic()
    with Heartbeat(tmp_path, 1, interval=600):
        time.sleep(0.1)
        (seen,) = Workers(tmp_path).seen()
        assert 0.1 <= seen.age <= time.monotonic() - started + 0.1


@pytest.mark.parametrize("shift", [-400 * 86400, 400 * 86400])
def test_a_clock_that_jumps_is_not_read(shift, tmp_path, monkeypatch):
    real = time.time
    with Heartbeat(tmp_path, 1, interval=0.02) as beat:
        monkeypatch.setattr(time, "time", lambda: real() + shift)
        workers = Workers(tmp_path)
        (seen,) = workers.seen()
        assert seen.lives
        assert seen.age < 60
        assert workers.alive(beat.name)


def test_errors_are_told_once_and_stop_nothing(tmp_path, caplog):
    (tmp_path / "workers").write_text("a file where the folder should be")
    with Heartbeat(tmp_path, 1, interval=0.01) as beat:
        beat.begin("a")
        time.sleep(0.1)
        beat.end("a", "scored", 1.0)
    assert (tmp_path / "workers").read_text().startswith("a file")


def test_damaged_files_are_no_workers(tmp_path):
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "x.json").write_text("{")
    (tmp_path / "workers" / "y.json").write_text('{"format": 1, "name": "y"}')
    workers = Workers(tmp_path)
    assert workers.seen() == []
    assert not workers.alive("x")

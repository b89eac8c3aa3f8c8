"""`jaxmap status --watch`: what the live table says, and when it ends."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from datetime import datetime

import numpy as np
import pytest
from support.checkpoints import jaxmap
from support.stores import filled, record, texts

from jaxmap.store import Failure, Item, Store
from jaxmap.store.heartbeat import Heartbeat
from jaxmap.store.run_progress import duration, rate_text
from jaxmap.store.status import status
from jaxmap.store.watch import gave_up, table, watch
from jaxmap.store.weight_distances import (
    DistanceRequest,
    DistanceRow,
    DistanceTable,
    read_distances,
)

TEXTS = texts()
NOON = datetime(2026, 1, 2, 12, 0, 0)


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def halfway(path) -> Store:
    """Of four asked for, one is done and one failed."""
    store, _ = filled(path, TEXTS, record(TEXTS, "run", "step0"))
    store.ask([Item("run", f"step{i}") for i in range(4)])
    store.add_failure(Failure(Item("run", "step1"), "run@step1: no such revision", "input"))
    return store


def beating(store: Store, **facts):
    """A worker whose file says so; it beats no more by itself."""
    beat = Heartbeat(store.path, 4, "jaxmap sweep", interval=600)
    beat._facts.update(facts)
    return beat


def tell(store: Store, beat: Heartbeat, **facts) -> None:
    path = store.path / "workers" / f"{beat.name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **facts}))


def test_the_table(tmp_path):
    store = halfway(tmp_path)
    rows = DistanceTable(tmp_path)
    rows.ask(DistanceRequest("run", (0, 1, 2, 3), 2))
    rows.add(DistanceRow("run", 2, "c", {(0, "c"): 1.0}))
    with beating(store) as a, beating(store) as b, beating(store) as c:
        tell(store, a, host="gpu1", scored=3, failed=1, seconds=1800, item="run@step2",
             texts=2500, texts_of=10000, all_texts=32500)  # fmt: skip
        tell(store, b, host="gpu2", place="elsewhere", found=7, seconds=100, pid=17)
        tell(store, c, host="gpu3", started=5, item="run@step9")
        text = table(status(store), NOON)
    lines = text.splitlines()
    assert lines[0] == f"{tmp_path}   12:00:00 UTC"
    assert lines[1] == "[#####...............] 1 of 4 done, 1 failed, 2 to do, 2 running"
    # 4.25 items in half an hour; two are left
    assert lines[2] == "8.5 an hour, about 14 min 7 s to go"
    assert lines[3] == "1 of 5 distances between weights"
    cells = {line.split()[0]: line.split() for line in lines[6:9]}
    pid = str(os.getpid())
    assert lines[5].split() == "worker beat scored found failed an hour texts/s now at".split()
    assert cells["gpu1"][:2] == ["gpu1", pid]
    assert cells["gpu1"][4:9] == ["3", "0", "1", "8.5", "18.1"]
    assert cells["gpu1"][9:] == "run@step2 (2,500 of 10,000 texts)".split()
    assert cells["gpu2"] == ["gpu2", "17", "?", "0", "7", "0", "-", "0", "-"]
    assert cells["gpu3"][-4:] == "gone; was at run@step9".split()
    assert lines[-1] == "  run@step1: no such revision"
    assert len({line.index("run@step2") if "gpu1" in line else 0 for line in lines}) == 2


def test_what_else_the_outlook_says(tmp_path):
    store = halfway(tmp_path)
    assert "no worker is running" in table(status(store), NOON)
    with beating(store):
        assert "no rate yet" in table(status(store), NOON)
    for step in (2, 3):
        store.add(record(TEXTS, "run", f"step{step}"))
    assert "nothing runs; run it again to retry" in table(status(store), NOON)
    with beating(store):
        assert "the last items are in progress" in table(status(store), NOON)
    store.add(record(TEXTS, "run", "step1"))
    assert "all done" in table(status(store), NOON)


def test_ends_when_all_is_done(tmp_path):
    """A snapshot an interval; what others add in between shows."""
    store = halfway(tmp_path)
    out, waited = io.StringIO(), []

    def work(seconds):
        waited.append(seconds)
        store.add(record(TEXTS, "run", f"step{len(waited)}"))

    assert not gave_up(watch(Store.open(tmp_path), out, 2.5, sleep=work))
    assert waited == [2.5, 2.5, 2.5]
    text = out.getvalue()
    done = [line for line in text.splitlines() if " of 4 done" in line]
    assert [line.split("] ")[1].split()[0] for line in done] == ["1", "2", "3", "4"]
    assert "\x1b" not in text
    assert "all done" in text


def test_ends_when_the_rest_failed(tmp_path):
    """But not while somebody is at it."""
    store = halfway(tmp_path)
    for step in (2, 3):
        store.add(record(TEXTS, "run", f"step{step}"))
    assert gave_up(watch(store, io.StringIO(), 1.0, sleep=pytest.fail))
    with beating(store) as beat:
        looked = []

        def leave(seconds):
            looked.append(seconds)
            (tmp_path / "workers" / f"{beat.name}.json").unlink()

        assert gave_up(watch(store, io.StringIO(), 1.0, sleep=leave))
        assert len(looked) == 1


def test_missing_distances_are_waited_for(tmp_path):
    store, _ = filled(tmp_path, TEXTS, record(TEXTS, "run", "step0"), record(TEXTS, "run", "step1"))
    store.ask([Item("run", "step0"), Item("run", "step1")])
    rows = DistanceTable(tmp_path)
    rows.ask(DistanceRequest("run", (0, 1), 10))
    report = status(store)
    assert not report.complete
    assert "distances   0 of 1 between weights" in report.text()
    assert gave_up(watch(store, io.StringIO(), 1.0, sleep=pytest.fail))
    rows.add(DistanceRow("run", 1, "c0", {(0, "c0"): 3.0}))
    assert status(store).complete
    assert not gave_up(watch(store, io.StringIO(), 1.0, sleep=pytest.fail))
    assert np.isfinite(read_distances(tmp_path)["run"].distance[0, 1])


def test_on_a_terminal_the_table_stays_in_place(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("LINES", "12")
    store = halfway(tmp_path)
    store.ask([Item("run", f"step{i}") for i in range(4, 40)])
    for step in range(4, 30):
        store.add_failure(Failure(Item("run", f"step{step}"), "x" * 100))
    out = Screen()

    def stop(seconds):
        raise KeyboardInterrupt

    assert not gave_up(watch(store, out, 1.0, sleep=stop))
    text = out.getvalue()
    assert text.startswith("\x1b[H\x1b[J")
    lines = text.removeprefix("\x1b[H\x1b[J").splitlines()
    assert len(lines) <= 11
    assert max(map(len, lines)) <= 39


def test_status_names_the_workers(tmp_path):
    store = halfway(tmp_path)
    with beating(store, item="run@step2") as a, beating(store) as b:
        tell(store, b, started=5, item="run@step3")
        text = status(store).text()
    assert "running     1 (`watch` shows more)" in text
    assert f"{os.getpid()}: run@step2\n" in text
    assert f"{os.getpid()}: gone, it was at run@step3\n" in text
    assert a.name != b.name
    assert "running" not in status(store).text()


def test_a_word_while_a_model_is_loaded_and_compiled(tmp_path):
    store = halfway(tmp_path)
    with beating(store, doing="loading"):
        assert "no rate yet: loading" in table(status(store), NOON)
        assert f"{os.getpid()}: loading" in status(store).text()
    with beating(store, item="run@step2", doing="compiling"):
        assert "run@step2 (compiling)" in table(status(store), NOON)


def test_what_a_later_version_says_of_a_worker_is_passed_over(tmp_path):
    store = halfway(tmp_path)
    with beating(store) as beat:
        tell(store, beat, mood="fine")
        assert [seen.lives for seen in status(store).workers] == [True]


def test_one_look_says_how_far_a_sweep_is(tmp_path):
    store = halfway(tmp_path)
    assert "progress" not in status(store).text()
    with beating(store) as beat:
        tell(store, beat, scored=4000, failed=0, seconds=3600)
        text = status(store).text()
    assert "progress    [#####...............] 4,000 an hour, about 2 s to go" in text
    assert "done        1 of 4 asked for" in text


def test_results_that_nobody_asked_for(tmp_path):
    store, _ = filled(tmp_path, TEXTS, record(TEXTS, "a"), record(TEXTS, "b"))
    text = status(store).text()
    assert "results     2\n" in text
    assert "0 of 0" not in text + table(status(store), NOON)
    assert "imported, pulled or derived" in text
    assert "2 results, none of which was asked for here" in table(status(store), NOON)


@pytest.mark.parametrize(
    ("rate", "text"),
    [(0, "0"), (0.0004, "< 0.01"), (0.05, "0.05"), (8.512, "8.51"), (99.94, "99.9"),
     (99.96, "100"), (1234.4, "1,234"), (98765432.1, "98,765,432")],
)  # fmt: skip
def test_rates(rate, text):
    assert rate_text(rate) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (44.6, "45 s"), (190, "3 min 10 s"), (7200, "2 h"), (7500, "2 h 5 min"),
     (3 * 86400 + 4 * 3600 + 59, "3 d 4 h"), (86400 + 60, "1 d")],
)  # fmt: skip
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_the_flag(tmp_path):
    store, _ = filled(tmp_path, TEXTS, record(TEXTS, "a"))
    store.ask([Item("a")])
    for flag in ("--watch", "--watch=0.2"):
        ran = jaxmap("status", f"--store={tmp_path}", flag)
        assert (ran.code, ran.err) == (0, "")
        assert "1 of 1 done" in ran.out
    assert "results     1" in jaxmap("status", f"--store={tmp_path}").out
    for bad in ("--watch=soon", "--watch=0", "--watch=-1", "--watch=nan"):
        ran = jaxmap("status", f"--store={tmp_path}", bad)
        assert ran.code == 2
        assert "--watch" in ran.err
        assert len(ran.messages) == 1


def test_ctrl_c(tmp_path):
    halfway(tmp_path)
    # A job in the background of a script is started with this signal ignored.
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from jaxmap.cli import main; main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, "status", f"--store={tmp_path}", "--watch=0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if "1 of 4 done" in line:
            break
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, "")

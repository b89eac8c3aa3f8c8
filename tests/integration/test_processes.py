"""Several processes score each model together, notice who is gone, and stop together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.checkpoints import LLAMA, NO_TORCH, caches, jaxmap, make_checkpoint, score, write_texts

from jaxmap import distributed
from jaxmap.store import Store

NATS = 1e-4
LIMIT_S = 240  # for what takes seconds on an idle machine

# The program, which says at the end how many numbers it has read from checkpoints. What the CPU's
# transport prints goes to stderr: it comes from many threads, in pieces of lines.
PROGRAM = f"""{NO_TORCH}
import os, sys
sys.stdout = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
import jaxmap.checkpoint.sharded_weights as shards
from jaxmap import distributed
real, read = shards.copied, [0]
def copied(*arguments):
    piece = real(*arguments)
    read[0] += piece.size
    return piece
shards.copied = copied
leave = distributed.leave
def leaving(code):
    print("read", read[0], flush=True)
    leave(code)
distributed.leave = leaving
from jaxmap.cli import main
main()
"""


class Processes:
    """`jaxmap score` in several processes that find each other."""

    def __init__(self, store: Path, texts: Path, models: Sequence[Path], count: int, **flags):
        self.store = store
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        listed = ",".join(map(str, models))
        common = [f"--store={store}", f"--texts={texts}", f"--models={listed}"]
        common += [f"--coordinator_address=localhost:{port}", f"--num_processes={count}"]
        devices = flags.pop("devices")
        common += [f"--{name}={value}" for name, value in flags.items()]
        env = {**os.environ, "XDG_CACHE_HOME": caches(), "JAX_NUM_CPU_DEVICES": str(devices)}
        self.all = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, "score", *common, f"--process_id={i}"],
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for i in range(count)
        ]

    def end(self) -> list[tuple[int, str, str]]:
        """Exit code, results and messages of each."""
        try:
            outputs = [process.communicate(timeout=LIMIT_S) for process in self.all]
        finally:
            for process in self.all:
                process.kill()
        return [(p.returncode, *output) for p, output in zip(self.all, outputs, strict=True)]

    def wait_until_batches_are_done(self) -> None:
        deadline = time.monotonic() + LIMIT_S
        while not list((self.store / "partial").glob("[!.]*.npz")):
            assert time.monotonic() < deadline
            assert all(process.poll() is None for process in self.all), self.end()
            time.sleep(0.01)


@pytest.fixture
def many_texts(tmp_path):
    """Enough for a kill to fall on them."""
    random = np.random.default_rng(0)
    texts = ["".join(map(chr, random.integers(97, 123, 100))) for _ in range(3000)]
    return write_texts(tmp_path / "many.jsonl", texts)


def vectors(store: Path) -> list[np.ndarray]:
    opened = Store.open(store)
    return [opened.load(entry).log_likelihood for entry in opened.records()]


def close(a: Path, b: Path) -> bool:
    pairs = list(zip(vectors(a), vectors(b), strict=True))
    return all(np.abs(x - y).max() <= NATS and np.abs(x).max() > 50 for x, y in pairs)


def test_two_processes_score_as_one_does(tmp_path):
    texts = write_texts(tmp_path / "texts.jsonl")
    heads = dict(num_attention_heads=5, num_key_value_heads=5, hidden_size=40)
    model = make_checkpoint(tmp_path / "a", LLAMA, **heads)
    flags = dict(lens=True, quantize="none,int8")
    ended = Processes(
        tmp_path / "two", texts, [model], 2, devices=4, mesh="data=2,model=4", **flags
    ).end()
    assert [code for code, *_ in ended] == [0, 0], ended
    said = [out.splitlines() for _, out, _ in ended]
    assert [len(lines) for lines in said] == [2, 1], "only the first says what was done"
    assert said[0][0] == "2 scored, 0 already done, 0 failed"
    assert score(tmp_path / "one", texts, model, **flags).code == 0
    assert len(vectors(tmp_path / "two")) == 1 + 3 + 1
    assert close(tmp_path / "two", tmp_path / "one")
    # A batch is cut between the processes here: each has all of the model on its four devices.
    entry = Store.open(tmp_path / "one").records()[0]
    total = entry.provenance.model["num_parameters"]
    assert [lines[-1] for lines in said] == [f"read {total}"] * 2


def test_weights_cut_over_processes_are_read_by_halves(tmp_path):
    texts = write_texts(tmp_path / "texts.jsonl")
    model = make_checkpoint(tmp_path / "a", LLAMA, hidden_size=16, intermediate_size=32)
    ended = Processes(tmp_path / "two", texts, [model], 2, devices=2, mesh="fsdp=4").end()
    assert [code for code, *_ in ended] == [0, 0], ended
    assert score(tmp_path / "one", texts, model).code == 0
    assert close(tmp_path / "two", tmp_path / "one")
    [entry] = Store.open(tmp_path / "one").records()
    total = entry.provenance.model["num_parameters"]
    norms = 5 * 16  # whole in each
    own = (total + norms) // 2
    assert [out.splitlines()[-1] for _, out, _ in ended] == [f"read {own}"] * 2


@pytest.mark.parametrize(
    ("victim", "blow"),
    [
        (1, signal.SIGKILL),
        pytest.param(0, signal.SIGKILL, marks=pytest.mark.slow),
        pytest.param(1, signal.SIGSTOP, marks=pytest.mark.slow),
    ],
)
def test_a_dead_process_ends_the_others_and_fewer_go_on(victim, blow, tmp_path, many_texts):
    models = [make_checkpoint(tmp_path / name, seed=i) for i, name in enumerate("ab")]
    processes = Processes(
        tmp_path / "dead", many_texts, models, 2, devices=2, mesh="data=2,model=2", save_every=0
    )
    processes.wait_until_batches_are_done()
    processes.all[victim].send_signal(blow)
    struck = time.monotonic()
    survivor = processes.all[1 - victim]
    survivor.wait(timeout=LIMIT_S)
    assert time.monotonic() - struck < 60
    processes.all[victim].kill()
    ended = processes.end()
    code, _, messages = ended[1 - victim]
    assert code == distributed.AGAIN
    assert f"process {victim} " in messages
    assert "run the same command again to resume" in messages
    # One process does the rest, in other devices.
    done = len(Store.open(tmp_path / "dead").records())
    again = score(tmp_path / "dead", many_texts, *models)
    assert again.out == f"{2 - done} scored, {done} already done, 0 failed\n"


def test_all_stop_at_the_same_batch_and_go_on(tmp_path, many_texts):
    model = make_checkpoint(tmp_path / "a")
    flags = dict(devices=2, mesh="data=2,model=2", save_every=0)
    processes = Processes(tmp_path / "store", many_texts, [model], 2, **flags)
    processes.wait_until_batches_are_done()
    for process in processes.all:
        process.terminate()
    ended = processes.end()
    assert [code for code, *_ in ended] == [distributed.AGAIN] * 2, ended
    assert "stopped before the end" in ended[0][1]
    assert [len(out.splitlines()) for _, out, _ in ended] == [3, 1]
    [kept] = (tmp_path / "store" / "partial").glob("*.npz")
    done_B = np.load(kept)["done"]
    assert 0 < done_B.sum() < len(done_B)

    ended = Processes(tmp_path / "store", many_texts, [model], 2, **flags).end()
    assert [code for code, *_ in ended] == [0, 0], ended
    assert f"{done_B.sum()} of {len(done_B)} batches were done before" in ended[0][2]
    assert score(tmp_path / "one", many_texts, model).code == 0
    assert close(tmp_path / "store", tmp_path / "one")


def test_a_file_that_only_one_process_cannot_read_fails_for_all(tmp_path):
    """Each reads its part; whoever meets a NaN, all go on with the next model."""
    from support.checkpoints import change_tensors

    texts = write_texts(tmp_path / "texts.jsonl")
    bad, good = (make_checkpoint(tmp_path / name, seed=i) for i, name in enumerate("ab"))
    name = "embed_out.weight"

    def spoil(tensors):
        tensors[name][-1, -1] = np.nan  # in the last process's part

    change_tensors(bad, spoil)
    ended = Processes(tmp_path / "two", texts, [bad, good], 2, devices=1, mesh="model=2").end()
    assert [code for code, *_ in ended] == [2, 2], ended
    status = jaxmap("status", f"--store={tmp_path}/two").out
    assert f"process 1: {bad}: NaN or infinite weights in {name}" in status
    assert len(vectors(tmp_path / "two")) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--num_processes=2"], "--coordinator_address, --process_id: missing"),
        (
            ["--num_processes=2", "--process_id=2", "--coordinator_address=localhost:1"],
            "--process_id=2: of 2 processes it is 0 to 1",
        ),
        (
            ["--num_processes=2", "--process_id=0", "--coordinator_address=localhost"],
            "write host:port",
        ),
        (["--mesh=data=3"], "3 devices, but there are 1"),
        (["--mesh=heads=2"], "'heads=2' is not understood"),
    ],
)
def test_flags_that_are_refused(flags, message, tmp_path):
    texts = write_texts(tmp_path / "texts.jsonl")
    model = make_checkpoint(tmp_path / "a")
    given = [f"--store={tmp_path}/store", f"--texts={texts}", f"--models={model}", *flags]
    ran = jaxmap("score", *given)
    assert ran.code == 2
    assert message in ran.out + ran.err


def test_no_others_are_found(tmp_path):
    texts = write_texts(tmp_path / "texts.jsonl")
    flags = [f"--store={tmp_path}/store", f"--texts={texts}", "--models=none", "--distributed"]
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, "score", *flags], capture_output=True, text=True
    )
    assert ran.returncode == 2
    assert "--distributed: JAX finds no other processes" in ran.stderr


def test_a_silent_process_is_named():
    """The watch alone, with a service in which one of two has stopped to write."""
    program = """
import sys, threading
from jaxmap.distributed import Watch
class Service:
    kept = {"jaxmap/alive/1": "7 host9 pid 4"}
    def key_value_set(self, key, value, overwrite):
        self.kept[key] = value
    def key_value_dir_get(self, key):
        return list(self.kept.items())
watch = Watch(Service(), 0, 2, silence_s=1.5)
watch.start()
watch.join(20)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.returncode == distributed.AGAIN
    assert "process 1 of 2 (host9 pid 4) has said nothing for" in ran.stderr
    assert "Traceback" not in ran.stderr

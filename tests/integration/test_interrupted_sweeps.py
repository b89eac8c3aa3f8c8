"""Sweeps that are killed or stopped, and several at once, come to the store of a clean run."""

from __future__ import annotations

import logging
import signal
from pathlib import Path

import pytest
from support.checkpoints import make_checkpoint, score, watch
from support.sweeps import (
    Process,
    contents,
    family,
    is_clean,
    many_texts,
    run,
    sweep,
    write_config,
)

from jaxmap.engine.scorer import Scorer
from jaxmap.store import Store
from jaxmap.sweeps.limits import Limits
from jaxmap.sweeps.settings import Settings


@pytest.fixture
def batches(monkeypatch):
    """One entry a batch that this process scores."""
    seen: list[int] = []
    real = Scorer.score_batch

    def score_batch(self, *arguments, **options):
        seen.append(1)
        return real(self, *arguments, **options)

    monkeypatch.setattr(Scorer, "score_batch", score_batch)
    return seen


@pytest.fixture
def loads(monkeypatch):
    """The folders that this process loads."""
    return watch(monkeypatch)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_what_was_scored_before_the_end_is_not_scored_again(how, tmp_path, batches):
    models = [make_checkpoint(tmp_path / f"m{i}", seed=i) for i in range(2)]
    texts = many_texts(tmp_path / "texts.jsonl")
    flags = dict(lens=True, batch_tokens=128)
    assert score(tmp_path / "whole", texts, *models, **flags).code == 0
    whole = len(batches)
    assert whole >= 20

    store = tmp_path / "store"
    process = Process(
        "score", f"--store={store}", f"--texts={texts}", f"--models={models[0]},{models[1]}",
        "--lens", "--batch_tokens=128", "--save_every=" + ("0" if how == signal.SIGKILL else "999"),
        log=tmp_path / "log", hold=7,
    )  # fmt: skip
    assert process.wait_for(1 + 7)
    process.process.send_signal(how)
    if how != signal.SIGKILL:
        process.go()
    code, output = process.finish()
    assert len(list((store / "partial").glob("[!.]*.npz"))) == 1, output
    assert Store.open(store).records() == []
    if how != signal.SIGKILL:
        assert code == 75, output
        assert "finishing the batch and saving" in output
        assert "stopped before the end" in output
        assert "Traceback" not in output
        assert not list((store / "workers").glob("*"))
    else:
        assert code == -9

    batches.clear()
    ran = score(store, texts, *models, **flags)
    assert (ran.code, ran.out) == (0, "2 scored, 0 already done, 0 failed\n")
    if how != signal.SIGKILL:
        assert process.batches + len(batches) == whole
    else:  # the one that was under way is lost, and what was not yet written
        assert whole < process.batches + len(batches) <= whole + 4
        assert len(batches) < whole - 2
    assert contents(store) == contents(tmp_path / "whole")
    is_clean(store)


def test_a_partial_vector_of_something_else_is_not_gone_on_with(tmp_path, batches):
    """Other weights, another packing, a damaged file: all is scored."""
    model = make_checkpoint(tmp_path / "m")
    texts, store = many_texts(tmp_path / "texts.jsonl"), tmp_path / "store"
    assert score(tmp_path / "whole", texts, model, batch_tokens=128).code == 0
    whole = len(batches)

    def stopped_halfway(seed: int = 0, batch_tokens: int = 128) -> Path:
        make_checkpoint(model, seed=seed)
        settings = Settings(batch_tokens=batch_tokens)
        outcome = run(store, texts, [model], settings, stop=lambda: len(batches) >= 5)
        assert (outcome.stopped, outcome.ending) == (True, "stopped")
        [path] = (store / "partial").glob("*.npz")
        batches.clear()
        return path

    batches.clear()
    path = stopped_halfway(seed=1)
    make_checkpoint(model, seed=0)
    assert score(store, texts, model, batch_tokens=128).code == 0
    assert len(batches) == whole
    assert contents(store) == contents(tmp_path / "whole")
    assert not path.exists()

    for name, wanted in (("256", whole), ("damaged", whole), ("mine", whole - 5)):
        for record in (store / "records").glob("*"):
            record.unlink()
        batches.clear()
        path = stopped_halfway(batch_tokens=256 if name == "256" else 128)
        if name == "damaged":
            content = path.read_bytes()
            at = content.index(b"log_likelihood.npy") + 200
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert score(store, texts, model, batch_tokens=128).code == 0
        assert len(batches) == wanted, name
        assert contents(store) == contents(tmp_path / "whole")
    is_clean(store)


def test_two_workers_share_the_work(tmp_path, loads):
    """One here, one in a process of its own: each checkpoint is loaded by one of them."""
    models = [make_checkpoint(tmp_path / f"m{i}", seed=i) for i in range(6)]
    texts, store = many_texts(tmp_path / "texts.jsonl"), tmp_path / "store"
    other = Process(
        "score", f"--store={store}", f"--texts={texts}", "--models=" + ",".join(map(str, models)),
        "--batch_tokens=128", log=tmp_path / "log", hold=2,
    )  # fmt: skip
    assert other.wait_for(1 + 2)

    def both_work() -> bool:
        """Asked between batches: the other goes on when this one has begun."""
        if loads:
            other.go()
        return False

    settings, limits = Settings(batch_tokens=128), Limits(busy_s=0.1)
    outcome = run(store, texts, models, settings, limits=limits, stop=both_work)
    code, output = other.finish()
    assert (outcome.ending, code) == ("done", 0), output
    assert sorted(loads + other.loads) == [f"m{i}" for i in range(6)]
    assert loads
    assert other.loads
    loads.clear()
    assert score(tmp_path / "whole", texts, *models, batch_tokens=128).code == 0
    assert contents(store) == contents(tmp_path / "whole")
    is_clean(store)


def test_a_dead_workers_run_is_taken_over(tmp_path, loads, caplog):
    """Weight distances need a run in one hand: another worker waits for it, but not for ever."""
    caplog.set_level("INFO", logger="absl")
    family(tmp_path, range(6))
    texts = many_texts(tmp_path / "texts.jsonl")
    config = write_config(
        tmp_path / "config.py", [f"{tmp_path}/run0@step{{0:6:1}}"], texts, weight_distance=2,
        batch_tokens=128,
    )  # fmt: skip
    store = tmp_path / "store"
    other = Process("sweep", f"--config={config}", f"--store={store}", log=tmp_path / "log", hold=2)
    assert other.wait_for(1 + 2)

    class KillsIt(logging.Handler):
        """Once it is said here that the other worker is waited for."""

        def emit(self, message: logging.LogRecord) -> None:
            if "waiting for 6 tasks" in message.getMessage():
                other.process.kill()

    absl, kills_it = logging.getLogger("absl"), KillsIt()
    absl.addHandler(kills_it)
    models = [f"{tmp_path}/run0@step{{0:6:1}}"]
    settings = Settings(weight_distance=2, batch_tokens=128)
    try:
        outcome = run(store, texts, models, settings, limits=Limits(busy_s=0.1))
    finally:
        absl.removeHandler(kills_it)
    assert other.finish()[0] == -9
    assert outcome.ending == "done"
    assert "waiting for 6 tasks of other workers" in caplog.text
    assert not set(loads) <= set(other.loads)
    assert sweep(config, tmp_path / "whole").code == 0
    assert contents(store) == contents(tmp_path / "whole")
    # A file that it was writing when it was killed goes with the next run that begins.
    assert run(store, texts, models, settings).ending == "done"
    is_clean(store)

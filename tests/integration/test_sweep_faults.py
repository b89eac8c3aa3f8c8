"""Sweeps that are killed, stopped, refused and lied to come to the store of a clean run."""

from __future__ import annotations

import os
import random
import signal
import threading
from pathlib import Path

import pytest
from support.checkpoints import jaxmap, make_checkpoint, score, watch, write_texts
from support.hubs import Fake, fake_of, serve
from support.sweeps import (
    Process,
    contents,
    family,
    is_clean,
    many_texts,
    run,
    sweep,
    truncate_a_record,
    write_config,
)

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.sources import cache, hub
from jaxmap.checkpoint.sources.retry import Retry
from jaxmap.engine.scorer import Scorer
from jaxmap.store import Store
from jaxmap.sweeps import checkpoint_scorer, preparation
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


# A vector that is being computed -----------------------------------------------------------------


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
        log=tmp_path / "log", pause=0.1,
    )  # fmt: skip
    assert process.wait_for(1 + 7)
    process.process.send_signal(how)
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
    else:  # those that were under way are lost
        assert whole <= process.batches + len(batches) <= whole + 4
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


# Several workers ---------------------------------------------------------------------------------


def test_two_workers_share_the_work(tmp_path, loads):
    """One here, one in a process of its own: each checkpoint is loaded by one of them."""
    models = [make_checkpoint(tmp_path / f"m{i}", seed=i) for i in range(6)]
    texts, store = many_texts(tmp_path / "texts.jsonl"), tmp_path / "store"
    other = Process(
        "score", f"--store={store}", f"--texts={texts}", "--models=" + ",".join(map(str, models)),
        "--batch_tokens=128", log=tmp_path / "log", pause=0.01,
    )  # fmt: skip
    assert other.wait_for(1)
    outcome = run(store, texts, models, Settings(batch_tokens=128), limits=Limits(busy_s=0.1))
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
    other = Process(
        "sweep", f"--config={config}", f"--store={store}", log=tmp_path / "log", pause=0.02
    )
    assert other.wait_for(1)
    killer = threading.Timer(0.5, other.process.kill)
    killer.start()
    models = [f"{tmp_path}/run0@step{{0:6:1}}"]
    settings = Settings(weight_distance=2, batch_tokens=128)
    outcome = run(store, texts, models, settings, limits=Limits(busy_s=0.1))
    assert other.finish()[0] == -9
    assert outcome.ending == "done"
    assert "waiting for 6 tasks of other workers" in caplog.text
    assert not set(loads) <= set(other.loads)
    assert sweep(config, tmp_path / "whole").code == 0
    assert contents(store) == contents(tmp_path / "whole")
    # A file that it was writing when it was killed goes with the next run that begins.
    assert run(store, texts, models, settings).ending == "done"
    is_clean(store)


# The Hub -----------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A repository of six checkpoints on a Hub of this machine, and the config of its sweep."""
    import huggingface_hub

    steps = range(6)
    family(tmp_path / "there", steps)
    fake = fake_of({f"step{i}": tmp_path / "there" / "run0" / f"step{i}" for i in steps})
    with serve(fake) as address:
        real = hub.Hub
        waits: list[float] = []

        def ours():
            return real(address, tmp_path / "cache é 1", False, Retry(sleep=waits.append))

        monkeypatch.setattr(hub, "Hub", ours)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # the library's own waits
        texts = write_texts(tmp_path / "texts.jsonl")
        config = write_config(tmp_path / "config.py", ["org/tiny@step{0:6:1}"], texts)
        yield fake, config, tmp_path
        huggingface_hub.close_session()


def test_a_hub_in_trouble(served):
    """429, 503, resets, half files and wrong bytes, one answer in six."""
    fake, config, place = served
    fake.plans["GET model.safetensors"] = [None, "flipped", None, "half"]
    fake.moments, fake.trouble = random.Random(3), 1 / 6
    ran = sweep(config, place / "store")
    assert (ran.code, ran.out) == (0, "6 scored, 0 already done, 0 failed\n")
    assert "does not match its SHA-256: deleted" in ran.err
    assert " after " not in ran.err, "no request was given up"
    fake.trouble = 0.0
    asked = fake.asked["GET model.safetensors"]
    assert sweep(config, place / "again").code == 0
    assert fake.asked["GET model.safetensors"] == asked  # all is in the cache
    assert contents(place / "store") == contents(place / "again")
    is_clean(place / "store")


def test_a_file_of_the_cache_that_lost_its_end(served):
    fake, config, place = served
    assert sweep(config, place / "store").code == 0
    for i, path in enumerate(sorted(place.glob("cache*/models--*/snapshots/*/model.safetensors"))):
        if i % 2:
            os.truncate(path, 1000)
    asked = fake.asked["GET model.safetensors"]
    assert sweep(config, place / "again").code == 0
    assert fake.asked["GET model.safetensors"] == asked + 3
    assert contents(place / "store") == contents(place / "again")


def cached(place: Path) -> dict[str, int]:
    """Bytes of the weights in the cache, by commit."""
    paths = place.glob("cache*/models--org--tiny/snapshots/*/model.safetensors")
    return {path.parent.name: path.stat().st_size for path in paths}


def blobs(place: Path) -> int:
    """Bytes of all blobs of the size of weights."""
    sizes = [path.stat().st_size for path in place.glob("cache*/models--*/blobs/*")]
    return sum(size for size in sizes if size > 20_000)


def test_a_cache_within_its_budget(served, monkeypatch):
    fake, config, place = served
    commits = dict(fake.branches)
    # One is there before the sweep, as another program left it.
    assert sweep(config, place / "before", "--config.models=org/tiny@step2").code == 0
    size = cached(place)[commits["step2"]]
    assert size > 20_000
    most = []
    fetch = preparation.fetch

    def watched(resolved, **options):
        found = fetch(resolved, **options)
        most.append(blobs(place))
        return found

    monkeypatch.setattr(preparation, "fetch", watched)
    ran = sweep(config, place / "store", f"--cache_budget={2 * size + 10}B")
    assert (ran.code, ran.out) == (0, "6 scored, 0 already done, 0 failed\n")
    assert len(most) == 6
    assert max(most) == 3 * size  # the two of the budget and the one that was there
    left = set(cached(place))
    assert commits["step2"] in left
    assert len(left) == 3
    assert blobs(place) == 3 * size

    # A budget of nothing: one at a time, none of this sweep's stays; the first one's still does.
    most.clear()
    ran = sweep(config, place / "other", "--cache_budget=0")
    assert ran.code == 0
    assert set(cached(place)) == left
    assert contents(place / "store") == contents(place / "other")


def test_downloads_ahead_are_bounded(served, monkeypatch):
    """In number and in bytes, with no budget: a slow scorer is not outrun by far."""
    _, config, place = served
    scored: list[float] = []
    ahead = []
    fetch, score_rows = preparation.fetch, checkpoint_scorer.score_rows

    def watched(resolved, **options):
        found = fetch(resolved, **options)
        ahead.append(len(cached(place)) - len(scored))
        return found

    def slow(*arguments, **options):
        threading.Event().wait(0.15)
        found = score_rows(*arguments, **options)
        scored.append(1)
        return found

    monkeypatch.setattr(preparation, "fetch", watched)
    monkeypatch.setattr(checkpoint_scorer, "score_rows", slow)
    assert sweep(config, place / "store").code == 0
    # One is scored, one may be loaded, three lie ready or come.
    assert max(ahead) <= 2 + Limits().downloads
    [size] = set(cached(place).values())
    for path in place.glob("cache*"):
        os.rename(path, place / "elsewhere")
    ahead.clear()
    scored.clear()
    models, limits = ["org/tiny@step{0:6:1}"], Limits(download_bytes=2 * size)
    assert run(place / "again", place / "texts.jsonl", models, limits=limits).ending == "done"
    assert max(ahead) == 2


def test_what_a_killed_sweep_downloaded_is_still_its_own(served, monkeypatch):
    """It is evicted by the run that goes on, although it was there before that one started."""
    fake, config, place = served
    store, size = place / "store", None
    load = weights.load

    class Killed(BaseException):
        pass

    def dies(folder, **options):
        if folder.name == fake.branches["step1"]:
            raise Killed
        return load(folder, **options)

    with monkeypatch.context() as patch:
        patch.setattr(weights, "load", dies)
        with pytest.raises(Killed):
            sweep(config, store, "--cache_budget=1GB")
    assert len(cached(place)) >= 2
    [size] = set(cached(place).values())
    ran = sweep(config, store, f"--cache_budget={2 * size}B")
    assert (ran.code, ran.out) == (0, "5 scored, 1 already done, 0 failed\n")
    assert sum(cached(place).values()) == blobs(place) == 2 * size
    assert len(list((store / cache.FOLDER).glob("*.json"))) == 2


def test_weights_that_two_revisions_share_stay_for_the_other(served):
    fake, config, place = served
    first, second = fake.branches["step0"], fake.branches["step1"]
    fake.snapshots[second] = {**fake.snapshots[first], "merges.txt": b"other"}
    models = "--config.models=org/tiny@step0"
    assert sweep(config, place / "before", models).code == 0
    ran = sweep(config, place / "store", "--cache_budget=0")
    assert ran.code == 0
    assert set(cached(place)) == {first}  # a link that still leads somewhere


def test_a_full_disk_of_the_cache(served, monkeypatch):
    """With a budget what was scored makes room; without one the run ends, and goes on later."""
    import errno

    _, config, place = served
    get = "huggingface_hub.file_download.http_get"
    from huggingface_hub.file_download import http_get

    def full(url, temp_file, **options):
        if "model.safetensors" in url and blobs(place) >= 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return http_get(url, temp_file, **options)

    monkeypatch.setattr(get, full)
    ran = sweep(config, place / "store")
    assert ran.code == 1
    assert "disk full" in ran.messages[-1]
    done = len(Store.open(place / "store").records())
    assert 0 < done < 6
    assert Store.open(place / "store").failures() == [], "it is none of theirs"
    ran = sweep(config, place / "store", "--cache_budget=1GB")
    # Of the first run's downloads none may go: they were here before.
    assert ran.code == 1
    for path in place.glob("cache*"):
        os.rename(path, place / "elsewhere")
    ran = sweep(config, place / "store", "--cache_budget=1GB")
    assert (ran.code, ran.out) == (0, f"{6 - done} scored, {done} already done, 0 failed\n")
    is_clean(place / "store")


def test_a_revision_that_the_hub_lacks(served, caplog):
    fake, config, place = served
    commit = fake.branches.pop("step4")
    ran = sweep(config, place / "store")
    assert ran.code == 2
    assert "org/tiny@step4: no revision 'step4' (nearest: step3, step5" in caplog.text
    fake.branches["step4"] = commit
    ran = sweep(config, place / "store")
    assert (ran.code, ran.out) == (0, "1 scored, 5 already done, 0 failed\n")
    is_clean(place / "store")


# All at once -------------------------------------------------------------------------------------


def pester(process: Process, store: Path, moments: random.Random, patience: int) -> bool:
    """Kills a sweep at a random moment of its work; false when it ended before."""
    if not process.wait_for(moments.randrange(1, patience)):
        return False
    threading.Event().wait(moments.uniform(0, 0.05))
    process.process.send_signal(moments.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
    return True


@pytest.mark.parametrize(
    ("runs", "steps", "kills"),
    [(2, 4, 3), pytest.param(5, 12, 30, marks=pytest.mark.slow)],
    ids=["8 checkpoints", "60 checkpoints"],
)
def test_a_sweep_under_fire(runs, steps, kills, tmp_path):
    """Killed, stopped, its files truncated, its downloads refused and spoilt, and run again until
    all is done: the store is that of a clean run, and nothing finished was computed again."""
    moments = random.Random(17)
    place = tmp_path / "ein Ort mit Ünicode 模"
    family(place, range(steps), runs, max_position_embeddings=128)
    names = [(run, step) for run in range(runs) for step in range(steps)]
    folders = {f"r{run}-step{step}": place / f"run{run}" / f"step{step}" for run, step in names}
    fake: Fake = fake_of(folders)
    models = ["org/tiny@" + ",org/tiny@".join(folders)]
    config = write_config(
        tmp_path / "config.py", models, many_texts(tmp_path / "texts.jsonl", 24),
        lens=True, quantize=("none", "int8"), weight_distance=3, batch_tokens=256,
    )  # fmt: skip
    command = ["sweep", f"--config={config}"]
    with serve(fake) as address:
        hugging = {"HF_ENDPOINT": address, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}

        def start(store: str, log: str, pause: float, *extra: str) -> Process:
            return Process(
                *command, f"--store={place / store}", "--save_every=0", *extra,
                log=tmp_path / log, pause=pause,
                env={**hugging, "HF_HOME": str(place / f"home {store}")},
            )  # fmt: skip

        code, output = start("whole", "clean", 0.0).finish(timeout=600)
        assert code == 0, output

        fake.moments, fake.trouble = random.Random(18), 0.1
        store, killed, done = place / "store", 0, 0
        for _ in range(kills + 20):
            process = start("store", "log", 0.02, "--cache_budget=300KB")
            if killed < kills and pester(process, store, moments, 12):
                killed += 1
                code, output = process.finish(timeout=600)
                assert code in (-9, 75), output
                if code == 75:
                    assert "stopped before the end" in output
                records = sorted((store / "records").glob("[!.]*"))
                assert len(records) >= done, "nothing finished is lost"
                done = len(records)
                if done and moments.random() < 0.3:
                    truncate_a_record(store, moments)
                    done -= 1
                if moments.random() < 0.3 and (paths := [*place.glob("home store/hub/*/blobs/*")]):
                    os.truncate(moments.choice(paths), 10)
            else:
                code, output = process.finish(timeout=600)
                if code == 0:
                    break
                assert code in (1, 2), output  # tries used up, a file spoilt that has no hash
        assert code == 0, output
        assert killed == kills
        assert sum(fake.troubles.values()) >= kills / 3
    assert contents(store) == contents(place / "whole")
    is_clean(store)
    assert jaxmap("status", f"--store={store}").out.count(f"done        {2 * len(names)} of") == 1

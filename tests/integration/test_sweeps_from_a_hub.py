"""Sweeps of a Hub in trouble, in a cache with a budget, on a disk that fills up."""

from __future__ import annotations

import os
import random
import threading
from pathlib import Path

import pytest
from support.checkpoints import write_texts
from support.hubs import fake_of, serve
from support.sweeps import (
    contents,
    family,
    is_clean,
    run,
    sweep,
    write_config,
)

from jaxmap.checkpoint import weights
from jaxmap.checkpoint.sources import cache, hub
from jaxmap.checkpoint.sources.retry import Retry
from jaxmap.store import Store
from jaxmap.sweeps import checkpoint_scorer, preparation
from jaxmap.sweeps.limits import Limits


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

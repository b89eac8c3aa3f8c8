"""What is wrong with a checkpoint, a record, a disk or a clock costs only itself."""

from __future__ import annotations

import os
import time

from support.checkpoints import (
    change_tensors,
    jaxmap,
    watch,
)
from support.sweeps import ALL, STEPS, config_of, contents, is_clean, sweep, truncate_a_record

from jaxmap.checkpoint import weights
from jaxmap.store import Store


def test_bad_checkpoints_cost_the_others_nothing(place, monkeypatch, caplog):
    """A NaN, a missing revision, one that fails for no fault of its own; then all are mended."""
    config, store = config_of(place, weight_distance=2, quantize=("none", "int8")), place / "store"
    assert sweep(config, place / "whole").code == 0

    def spoil(t):
        t["gpt_neox.final_layer_norm.weight"][3] = float("nan")

    good = place / "run0" / "step4" / "model.safetensors"
    content, times = good.read_bytes(), good.stat()
    change_tensors(place / "run0" / "step4", spoil)
    os.rename(place / "run0" / "step8", place / "step8 elsewhere")
    load = weights.load

    def unlucky(folder, **options):
        if folder.name == "step1":
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return load(folder, **options)

    with monkeypatch.context() as patch:
        patch.setattr(weights, "load", unlucky)
        ran = sweep(config, store)
    assert ran.code == 1
    assert ran.out.startswith("6 scored, 0 already done, 6 failed\n")
    for reason in ("NaN or infinite weights in", "no subfolder or revision 'step8' (nearest: step4",
                   "RuntimeError: RESOURCE_EXHAUSTED"):  # fmt: skip
        assert caplog.text.count(reason) == 2, reason
    status = jaxmap("status", f"--store={store}")
    assert "failed      6" in status.out
    assert f"cd {os.getcwd()} && jaxmap sweep --config={config} --store={store}" in status.out

    # Run again with two of them still bad: what is done is not loaded again.
    loads = watch(monkeypatch)
    ran = sweep(config, store)
    assert (ran.code, ran.out.splitlines()[0]) == (2, "2 scored, 6 already done, 4 failed")
    assert loads == ["step1", "step4"]

    good.write_bytes(content)
    os.utime(good, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.rename(place / "step8 elsewhere", place / "run0" / "step8")
    ran = sweep(config, store)
    assert (ran.code, ran.out) == (0, "4 scored, 8 already done, 0 failed\n")
    assert contents(store) == contents(place / "whole")
    is_clean(store)


def test_a_corrupt_record_is_computed_again(place):
    import random

    config, store = config_of(place, **ALL), place / "store"
    assert sweep(config, store).code == 0
    whole = contents(store)
    for seed in range(3):
        path = truncate_a_record(store, random.Random(seed))
        assert "corrupt     1" in jaxmap("status", f"--store={store}").out
        ran = sweep(config, store)
        assert (ran.code, ran.out) == (0, "1 scored, 11 already done, 0 failed\n"), path
        assert contents(store) == whole
    is_clean(store)


def test_a_clock_that_goes_backwards(place, monkeypatch):
    """Nothing that a result depends on, or that says which is newest, is a time."""
    config = config_of(place, weight_distance=2)
    assert sweep(config, place / "whole").code == 0
    seconds = iter(range(2_000_000_000, 0, -1000))
    monkeypatch.setattr(time, "time", lambda: float(next(seconds)))
    years = iter(range(9999, 1000, -1))
    monkeypatch.setattr("jaxmap.store.record.now", lambda: f"{next(years)}-01-01T00:00:00.000000")
    first = sweep(config, place / "store", "--shard_count=2")
    assert first.out.startswith("3 scored")
    assert sweep(config, place / "store").out == "3 scored, 3 already done, 0 failed\n"
    assert contents(place / "store") == contents(place / "whole")
    before = {e.label: e.identity.commit for e in Store.open(place / "store").records()}
    change_tensors(place / "run0" / "step2", lambda t: [v.__imul__(1.5) for v in t.values()])
    assert sweep(config, place / "store").out == "1 scored, 5 already done, 0 failed\n"
    store = Store.open(place / "store")
    [old] = store.superseded()
    assert old.label.endswith("step2")
    [new] = [entry for entry in store.records() if entry.label.endswith("step2")]
    assert old.identity.commit == before[new.label] != new.identity.commit


def test_a_full_disk_ends_the_run_and_it_goes_on(place, monkeypatch):
    import errno

    config = config_of(place, **ALL)
    assert sweep(config, place / "whole").code == 0
    fsync, left = os.fsync, iter([True] * 47)

    def full(descriptor):
        if not next(left, False):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        ran = sweep(config, place / "store")
    assert ran.code == 1
    assert "the disk is full: free some space and run again" in ran.messages[-1]
    assert str(place / "store") in ran.messages[-1]
    done = len(Store.open(place / "store").records())
    assert 0 < done < 5 * len(STEPS)
    assert not list((place / "store").rglob("*.tmp"))
    ran = sweep(config, place / "store")
    assert ran.code == 0
    assert contents(place / "store") == contents(place / "whole")
    is_clean(place / "store")

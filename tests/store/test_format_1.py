"""A store that the last code of format 1 wrote (see `make_store_format_1`) is as good as ever."""

from __future__ import annotations

import re
import tarfile

import numpy as np
import pytest
from support import REPOSITORY
from support.checkpoints import jaxmap, make_checkpoint, score, watch

from jaxmap.store import Store

ARCHIVE = REPOSITORY / "tests" / "support" / "data" / "store-format-1.tar.gz"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The archive, unpacked, and the working folder: its references are relative."""
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("store", ["store", "pmi"])
def test_it_exports_compares_and_tells_the_same(store, place):
    assert jaxmap("export", f"--store={store}", "--out=now.npz").code == 0
    before, now = np.load(f"{store}.npz"), np.load("now.npz")
    assert now.files == before.files
    for name in before.files:
        assert now[name].dtype == before[name].dtype, name
        assert now[name].tobytes() == before[name].tobytes(), name
    assert (place / "now.npz").read_bytes() == (place / f"{store}.npz").read_bytes()
    assert jaxmap("kl", f"--store={store}", "--out=now.csv").code == 0
    assert (place / "now.csv").read_text() == (place / f"{store}.kl.csv").read_text()
    told = (place / f"{store}.status.txt").read_text()
    told = re.sub(r"^  (\S+): \1: ", r"  \1: ", told, flags=re.MULTILINE)  # the name is said once
    now = jaxmap("status", f"--store={store}").out.splitlines()
    if store == "pmi":
        told = told.replace("done        0 of 0 asked for\n", "")
    gone = [line for line in told.splitlines() if line not in now]
    assert [line for line in gone if "run the same command again" not in line] == []
    assert Store.open(store).corrupt() == {}


def test_what_is_done_is_not_scored_again(place, monkeypatch):
    loads, reads = watch(monkeypatch), watch(monkeypatch, "read")
    before = {path: path.read_bytes() for path in place.glob("store/records/*")}
    weights = {path: path.read_bytes() for path in place.glob("store/weights/*")}
    run = ("models/run@step{0,1,2}",)
    ran = score("store", "texts.jsonl", *run, weight_distance=2)
    assert (ran.code, ran.out) == (0, "0 scored, 3 already done, 0 failed\n")
    ran = score("store", "texts.jsonl", "models/run@step2", lens=True, quantize="none,int8")
    assert (ran.code, ran.out) == (0, "0 scored, 2 already done, 0 failed\n")
    assert (loads, reads) == ([], [])

    # What is missing is scored, and what failed is tried again; both are settled.
    failed = make_checkpoint(place / "models" / "broken", seed=7)
    ran = score("store", "texts.jsonl", "models/later", failed.relative_to(place))
    assert (ran.code, ran.out) == (0, "2 scored, 0 already done, 0 failed\n")
    assert sorted(loads) == ["broken", "later"]
    told = jaxmap("status", "--store=store").out
    assert "done        7 of 7" in told
    assert "failed      0" in told
    for path, content in (before | weights).items():
        assert path.read_bytes() == content, "nothing is written again"


def test_a_statistic_and_layers_are_added_to_it(place, monkeypatch):
    before = np.load("store.npz")
    files = {path: path.read_bytes() for path in place.glob("store/records/*")}
    loads = watch(monkeypatch)
    ran = score("store", "texts.jsonl", "models/run@step0", lens=True, statistics="entropy")
    assert (ran.code, ran.out) == (0, "1 scored, 0 already done, 0 failed\n")
    assert loads == ["step0"]
    store = Store.open("store")
    entries = store.records()
    labels = [entry.label for entry in entries][:4]
    assert labels == ["models/run@step0", *(f"models/run@step0#layer0{i}" for i in range(3))]
    assert ["entropy" in entry.statistics for entry in entries] == [True] * 4 + [False] * 6
    np.testing.assert_allclose(
        store.log_likelihoods(entries[:1])[0], before["log_likelihood"][0], rtol=1e-5, atol=1e-4
    )
    assert all(path.read_bytes() == content for path, content in files.items())

"""A store that version 2 of the format held before records knew the files' format and size.

tests/support/data/store-format-2.tar.gz was made by the code of commit 19cc0d4: `models/plain`, a
copy of it in int8 and `models/gptq`, tiny, scored on texts.jsonl into `store`, and store.npz.
"""

from __future__ import annotations

import csv
import tarfile

import pytest
from support import REPOSITORY
from support.checkpoints import jaxmap, score, watch

from jaxmap.store import Store

ARCHIVE = REPOSITORY / "tests" / "support" / "data" / "store-format-2.tar.gz"


@pytest.fixture
def place(tmp_path, monkeypatch):
    with tarfile.open(ARCHIVE) as tar:
        tar.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_nothing_is_scored_again(place, monkeypatch):
    loads = watch(monkeypatch)
    before = {path: path.read_bytes() for path in place.glob("store/records/*")}
    ran = score("store", "texts.jsonl", "models/plain", "models/gptq")
    assert (ran.code, ran.out) == (0, "0 scored, 2 already done, 0 failed\n")
    ran = score("store", "texts.jsonl", "models/plain", quantize="none,int8")
    assert (ran.code, ran.out) == (0, "0 scored, 2 already done, 0 failed\n")
    assert loads == []
    assert {path: path.read_bytes() for path in place.glob("store/records/*")} == before


def test_it_exports_the_same_and_tells_what_it_knows(place):
    assert jaxmap("export", "--store=store", "--out=now.npz").code == 0
    assert (place / "now.npz").read_bytes() == (place / "store.npz").read_bytes()
    entries = {entry.label: entry for entry in Store.open("store").records()}
    assert entries["models/plain"].format == "float16"
    assert entries["models/plain+int8"].format == "int8"
    assert entries["models/plain"].bits_per_weight is None
    import jaxmap as package

    package.status("store").save("out")
    with open("out/status.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["gib"] for row in rows] == [""] * len(rows)

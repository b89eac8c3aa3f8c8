"""Stores that are none, are of other texts, or are on a disk that refuses."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest
from support.checkpoints import (
    change_tensors,
    jaxmap,
    score,
    write_texts,
)
from support.spoilt import NORM, files

from jaxmap.store import Store


def test_store_is_a_file(made, tmp_path):
    (tmp_path / "store").write_text("precious")
    ran = score(tmp_path / "store", made / "texts.jsonl", made / "good")
    assert ran.code == 2
    assert len(ran.messages) == 1
    assert f"{tmp_path}/store: is a file" in ran.messages[0]
    for command in ("status", "export", "kl"):
        out = [] if command == "status" else [f"--out={tmp_path}/out.csv"]
        ran = jaxmap(command, f"--store={tmp_path}/store", *out)
        assert (ran.code, len(ran.messages)) == (2, 1)
    assert (tmp_path / "store").read_text() == "precious"


def test_store_under_a_file(made, tmp_path):
    (tmp_path / "file").write_text("precious")
    ran = score(tmp_path / "file" / "store", made / "texts.jsonl", made / "good")
    assert (ran.code, len(ran.messages)) == (2, 1)
    assert f"{tmp_path}/file/store" in ran.messages[0]
    assert "a part of the path is a file" in ran.messages[0]


def test_no_store(tmp_path):
    ran = jaxmap("status", f"--store={tmp_path}/none")
    assert (ran.code, len(ran.messages)) == (2, 1)
    assert f"{tmp_path}/none: holds no store" in ran.messages[0]
    assert not (tmp_path / "none").exists()


def test_store_of_other_texts(place):
    before = files(place / "store")
    other = write_texts(place / "other.jsonl", ["something else"])
    ran = score(place / "store", other, place / "good")
    assert (ran.code, len(ran.messages)) == (2, 1)
    for word in (f"{place}/store: made with other texts", "other.jsonl", "another --store"):
        assert word in ran.messages[0]
    assert files(place / "store") == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_disk_that_refuses(code, place, monkeypatch):
    """The first checkpoint fits, the second's record does not."""
    shutil.copytree(place / "good", place / "one")
    change_tensors(place / "one", lambda t: t.update({NORM: t[NORM] * 2}))
    real, written = os.replace, []

    def replace(source, target):
        if Path(target).parent.name == "records":
            written.append(target)
            if len(written) > 1:
                raise OSError(code, os.strerror(code))
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)
    change_tensors(place / "bad", lambda t: t.update({NORM: t[NORM] * 3}))
    ran = score(place / "store", place / "texts.jsonl", place / "one", place / "bad")
    monkeypatch.undo()
    assert len(written) == 2
    assert (ran.code, len(ran.messages)) == ({errno.ENOSPC: 1, errno.EROFS: 2}[code], 1)
    reason = {errno.ENOSPC: "the disk is full", errno.EROFS: "read-only"}[code]
    assert f"{place}/store/records/" in ran.messages[0]
    assert reason in ran.messages[0]
    names = [Path(e.identity.ref).name for e in Store.open(place / "store").records()]
    assert names == ["good", "one"]
    assert not [name for name in files(place / "store") if name.endswith(".tmp")]
    assert jaxmap("status", f"--store={place}/store").code == 0
    assert score(place / "store", place / "texts.jsonl", place / "one", place / "bad").code == 0

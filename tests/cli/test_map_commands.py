"""What the commands below the store write, by the command line itself."""

from __future__ import annotations

import csv
import errno
import json
import os
import re

import numpy as np
import pytest
from support.maps import map_store
from support.stores import FakeTexts, filled, record

from jaxmap.cli.program import run
from jaxmap.corpus.texts import TextSet, load_texts, save_texts
from jaxmap.errors import InputError, JaxmapError
from jaxmap.store import Store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return map_store(tmp_path_factory.mktemp("map") / "store")


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_matrix_of_all_kls(store, tmp_path, capsys):
    assert run(["kl", f"--store={store.path}", f"--out={tmp_path}/kl.npy"]) == 0
    count = len(store.records())
    assert f"{count} x {count} in {tmp_path}/kl.npy" in capsys.readouterr().out
    kl = np.load(tmp_path / "kl.npy", mmap_mode="r")
    labels = (tmp_path / "kl.npy.models.txt").read_text(encoding="utf-8").splitlines()
    assert run(["kl", f"--store={store.path}", f"--out={tmp_path}/kl.csv"]) == 0
    row = {label: k for k, label in enumerate(labels)}
    rows = read_csv(tmp_path / "kl.csv")
    assert len(rows) == count * (count - 1) // 2
    for one in rows:
        expected = float(one["kl_bits_per_byte"])
        assert kl[row[one["model_a"]], row[one["model_b"]]] == pytest.approx(expected, rel=1e-9)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "kl.csv", "kl.npy", "kl.npy.models.txt",
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"a \.npy holds all pairs"):
        run(["kl", f"--store={store.path}", f"--out={tmp_path}/k.npy", "--pairs=consecutive"])


def test_a_matrix_for_which_the_disk_is_too_small(store, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(JaxmapError, match=r"no space for 28.8 kB: No space left"):
        run(["kl", f"--store={store.path}", f"--out={tmp_path}/kl.npy"])
    assert list(tmp_path.iterdir()) == []


def test_into_the_released_layout_and_back(store, tmp_path, capsys):
    assert run(["export", f"--store={store.path}", f"--released={tmp_path}/data"]) == 0
    assert "pretraining_logp.pkl" in capsys.readouterr().out
    texts = [{"text": "x" * size} for size in store.texts.text_bytes]
    save_texts(tmp_path / "data" / "texts-10k-pile.jsonl", texts)
    assert run(["import", f"--store={tmp_path}/back", f"--released={tmp_path}/data"]) == 0
    back = Store.open(tmp_path / "back")
    before = {_name(entry): entry for entry in store.records()}
    after = {_name(entry): entry for entry in back.records()}
    assert set(after) == set(before)
    for name, entry in before.items():
        np.testing.assert_allclose(
            back.load(after[name]).log_likelihood, store.load(entry).log_likelihood, rtol=1e-6
        )
    assert back.texts.mean_bytes == store.texts.mean_bytes
    with pytest.raises(InputError, match="give one of them"):
        run(["export", f"--store={store.path}", "--out=a.npz", "--released=b"])
    with pytest.raises(InputError, match="--out is required"):
        run(["export", f"--store={store.path}"])


def _name(entry):
    one = entry.identity
    return one.ref, one.revision, entry.variant


@pytest.mark.parametrize("method", ["uniform", "ls", "kl"])
def test_resample_and_place(tmp_path, capsys, method):
    rng = np.random.default_rng(3)
    whole = TextSet(tuple(f"{n} ".ljust(30 + n % 9, "x") for n in range(300)), None, "whole.jsonl")
    save_texts(tmp_path / "whole.jsonl", [{"text": text} for text in whole.texts])
    ll_KN = -900 + rng.gamma(0.7, 40.0, 300) * rng.normal(size=(6, 300))
    old = [record(whole, f"m{k}", scores=row) for k, row in enumerate(ll_KN[:5])]
    filled(tmp_path / "old", whole, *old)
    few = tmp_path / "few.jsonl"
    arguments = [f"--store={tmp_path}/old", f"--texts={tmp_path}/whole.jsonl", f"--out={few}"]
    assert run(["resample", *arguments, "--n=120", f"--method={method}", "--seed=5"]) == 0
    assert "120 of 300 texts" in capsys.readouterr().out
    rows = [json.loads(line) for line in few.read_text().splitlines()]
    index = [row["index"] for row in rows]
    assert len(set(index)) == 120
    chosen = load_texts(few)
    filled(tmp_path / "new", chosen, record(chosen, "new", scores=ll_KN[5, index]))
    arguments = [f"--store={tmp_path}/old", f"--texts={few}", f"--new={tmp_path}/new"]
    assert run(["place", *arguments, f"--out={tmp_path}/placed"]) == 0
    assert "new: nearest is m" in capsys.readouterr().out
    clipped_KN = np.maximum(ll_KN, np.quantile(ll_KN[:5], 0.02))
    unit = 2 * whole.num_bytes.mean() * np.log(2)
    for one in read_csv(tmp_path / "placed" / "placed.csv"):
        exact = np.var(clipped_KN[5] - clipped_KN[int(one["other"][1:])]) / unit
        off = abs(float(one["kl_bits_per_byte"]) - exact)
        assert off < 5 * float(one["standard_error"])
    before = few.read_bytes()
    again = [f"--store={tmp_path}/old", f"--texts={tmp_path}/whole.jsonl", f"--out={few}"]
    assert run(["resample", *again, "--n=120", f"--method={method}", "--seed=5"]) == 0
    assert few.read_bytes() == before
    with pytest.raises(InputError, match=r"has to end in \.jsonl"):
        run(["resample", *again[:2], "--out=few.txt", "--n=3"])


def test_a_report_of_what_prompts_add(tmp_path, capsys):
    given = FakeTexts("a" * 64, np.arange(5, 45))
    alone = FakeTexts("b" * 64, np.arange(5, 45))
    filled(tmp_path / "c", given, *(record(given, f"org/m{k}") for k in range(6)))
    filled(tmp_path / "u", alone, *(record(alone, f"org/m{k}") for k in range(1, 7)))
    stores = [f"--conditional={tmp_path}/c", f"--unconditional={tmp_path}/u"]
    assert run(["pmi", *stores, f"--out={tmp_path}/pmi"]) == 0
    assert "5 models in" in capsys.readouterr().out
    assert run(["report", f"--store={tmp_path}/pmi", f"--out={tmp_path}/r.html"]) == 0
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert '"loss":[null,null,null,null,null]' in page
    assert "What was learnt" not in page


def test_a_report_writes_nothing_that_was_not_named(store, tmp_path, capsys):
    mine = tmp_path / "paper/figures/scale.png"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"mine")
    arguments = ["report", f"--store={store.path}", f"--out={tmp_path}/paper/report.html"]
    assert run(arguments) == 0
    assert mine.read_bytes() == b"mine"
    assert sorted(path.name for path in (tmp_path / "paper").rglob("*") if path.is_file()) == [
        "report.html", "scale.png",
    ]  # fmt: skip
    assert run([*arguments, f"--figures={tmp_path}/drawn"]) == 0
    assert f".{{pdf,png,svg}} in {tmp_path}/drawn" in capsys.readouterr().out
    assert {path.stem for path in (tmp_path / "drawn").iterdir()} >= {"learning", "scale"}


@pytest.mark.parametrize("command", ["scale", "diffusion", "dynamics"])
def test_every_file_that_was_written_is_listed(store, tmp_path, capsys, command):
    short = ["--start_from=0", "--window=3"] if command != "scale" else []
    assert run([command, f"--store={store.path}", f"--out={tmp_path / 'new'}", *short]) == 0
    *_, line = capsys.readouterr().out.splitlines()
    listed, _, folder = line.rpartition(" in ")
    assert folder == str(tmp_path / "new")
    names = set()
    for stem, many, one in re.findall(r"(\w+)\.(?:\{([\w,]+)\}|(\w+))", listed):
        names |= {f"{stem}.{ending}" for ending in (many or one).split(",")}
    assert names == {path.name for path in (tmp_path / "new").iterdir()}
    assert f"{command}.csv" in names


@pytest.mark.parametrize(
    ("command", "out", "known"),
    [
        ("kl", "x.json", r"use one of \.csv, \.npy"),
        ("kl", "x", r"use one of \.csv, \.npy"),
        ("report", "x.pdf", r"a report is a \.html file"),
        ("report", "x", r"a report is a \.html file"),
    ],
)
def test_endings_are_checked(store, tmp_path, command, out, known):
    with pytest.raises(InputError, match=rf"^--out={tmp_path}/{out}: unknown ending .*: {known}"):
        run([command, f"--store={store.path}", f"--out={tmp_path}/{out}"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ending", ["csv", "npy"])
def test_a_table_where_none_can_be(store, tmp_path, ending):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="a part of the path is a file"):
        run(["kl", f"--store={store.path}", f"--out={tmp_path}/file/kl.{ending}"])
    (tmp_path / f"folder.{ending}").mkdir()
    with pytest.raises(JaxmapError, match=rf"folder\.{ending}: is a folder: name a file"):
        run(["kl", f"--store={store.path}", f"--out={tmp_path}/folder.{ending}"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", f"folder.{ending}"]

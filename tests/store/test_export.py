from __future__ import annotations

import csv
import errno
import os

import numpy as np
import pytest
import xarray
from support.stores import filled, record, texts

from jaxmap.errors import InputError, JaxmapError
from jaxmap.store import Store
from jaxmap.store.export import FORMATS_HELP, export

TEXTS = texts()


@pytest.fixture
def store(tmp_path):
    records = [
        record(TEXTS, "run, with a comma", "step10"),
        record(TEXTS, "run, with a comma", "step2"),
        record(TEXTS, "ö", dtype="bfloat16", is_default_dtype=False, layer=1),
    ]
    return filled(tmp_path / "store", TEXTS, *records)[0]


LABELS = ["run, with a comma@step2", "run, with a comma@step10", "ö+bfloat16#layer01"]


def arrays(store):
    records = [store.load(entry) for entry in store.records()]
    return {
        name: np.stack([getattr(one, name) for one in records])
        for name in ("log_likelihood", "num_tokens", "num_scored")
    }


def test_npz(store, tmp_path):
    assert export(store, tmp_path / "out.npz") == 3
    with np.load(tmp_path / "out.npz", allow_pickle=False) as data:
        assert set(data) == {
            "log_likelihood", "num_tokens", "num_scored", "model", "mean_text_bytes", "text_bytes",
        }  # fmt: skip
        assert data["model"].tolist() == LABELS
        assert data["model"].dtype.kind == "U"
        assert data["log_likelihood"].dtype == np.float64
        assert data["num_tokens"].dtype == np.int32
        for name, expected in arrays(store).items():
            np.testing.assert_array_equal(data[name], expected)
        np.testing.assert_array_equal(data["text_bytes"], TEXTS.num_bytes)
        assert float(data["mean_text_bytes"]) == TEXTS.num_bytes.mean()


def test_the_same_results_give_the_same_npz(store, tmp_path):
    export(store, tmp_path / "one.npz")
    export(Store.open(store.path), tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()


def test_csv(store, tmp_path):
    assert export(store, tmp_path / "out.CSV") == 3
    with open(tmp_path / "out.CSV", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["model", "text", "log_likelihood", "num_tokens"]
    assert [row[0] for row in rows] == [label for label in LABELS for _ in range(50)]
    assert [int(row[1]) for row in rows] == list(range(50)) * 3
    expected = arrays(store)
    scores = np.array([float(row[2]) for row in rows]).reshape(3, 50)
    np.testing.assert_array_equal(scores, expected["log_likelihood"])  # every digit
    tokens = np.array([int(row[3]) for row in rows]).reshape(3, 50)
    np.testing.assert_array_equal(tokens, expected["num_tokens"])


def test_nc(store, tmp_path):
    assert export(store, tmp_path / "out.nc") == 3
    with xarray.open_dataset(tmp_path / "out.nc", engine="h5netcdf") as data:
        expected = store.dataset()
        assert data.model.values.tolist() == LABELS
        assert data.step.values.tolist() == [2, 10, -1]
        for name in ("log_likelihood", "num_tokens", "num_scored", "text_bytes"):
            np.testing.assert_array_equal(data[name], expected[name])
        assert data["log_likelihood"].dtype == np.float64
        assert data.attrs["mean_text_bytes"] == TEXTS.num_bytes.mean()
    assert sorted(os.listdir(tmp_path)) == ["out.nc", "store"]


@pytest.mark.parametrize("name", ["out.txt", "out", "out.npz.gz"])
def test_an_unknown_ending_lists_the_known(store, tmp_path, name):
    with pytest.raises(InputError, match=r"unknown ending .*: use one of \.npz, \.csv, \.nc"):
        export(store, tmp_path / name)
    assert os.listdir(tmp_path) == ["store"]


def test_an_empty_store(tmp_path):
    store = Store.create(tmp_path / "store", TEXTS)
    with pytest.raises(InputError, match="holds no results"):
        export(store, tmp_path / "out.npz")


@pytest.mark.parametrize("ending", ["npz", "csv", "nc"])
def test_a_full_disk_leaves_the_old_file(store, tmp_path, monkeypatch, ending):
    out = tmp_path / f"out.{ending}"
    out.write_bytes(b"old")

    def fails(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(JaxmapError, match=r"out\..*disk is full"):
        export(store, out)
    assert out.read_bytes() == b"old"
    assert sorted(os.listdir(tmp_path)) == [f"out.{ending}", "store"]


def test_the_help_names_every_ending():
    assert [line.split()[0] for line in FORMATS_HELP.splitlines() if line.startswith(".")] == [
        ".npz",
        ".csv",
        ".nc",
    ]

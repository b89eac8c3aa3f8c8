"""The functions that commands call give, from a notebook, what the commands write."""

from __future__ import annotations

import csv

import numpy as np
import pandas as pd
import pytest
from support.maps import map_store
from support.stores import filled, record, texts

import jaxmap
from jaxmap.cli.program import run
from jaxmap.errors import InputError
from jaxmap.figures.digits import with_error


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return map_store(tmp_path_factory.mktemp("store"), models=False)


def test_a_data_frame_is_the_table_of_the_file(store, tmp_path):
    result = jaxmap.scale(store)
    paths = result.save(tmp_path)
    frame = result.to_dataframe()
    with open(tmp_path / "scale.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(frame.columns) == list(rows[0])
    assert len(frame) == len(rows) == 10
    for column in frame:
        for value, told in zip(frame[column], (row[column] for row in rows), strict=True):
            assert told == ("" if value is None or pd.isna(value) else str(value))
    assert set(result.draw()) == {path.stem for path in paths if path.suffix == ".png"}
    assert "<table" in result._repr_html_()
    assert len(result.pairs_dataframe()) == frame.n.sum()


def test_kl(store, tmp_path):
    table = jaxmap.kl(store.path)
    assert table.save(tmp_path) == [tmp_path / "kl.csv"]
    assert jaxmap.write_kl(store, tmp_path / "written.csv") == len(table.kl)
    assert (tmp_path / "written.csv").read_bytes() == (tmp_path / "kl.csv").read_bytes()
    matrix = table.to_matrix()
    assert (matrix.index == matrix.columns).all()
    np.testing.assert_array_equal(matrix.to_numpy(), matrix.to_numpy().T)
    first = table.to_dataframe().iloc[0]
    assert matrix.loc[first.model_a, first.model_b] == first.kl_bits_per_byte
    pair = jaxmap.kl(store, pairs=f"{first.model_a}:{first.model_b}")
    assert pair.kl[0] == pytest.approx(first.kl_bits_per_byte, rel=1e-12)
    steps = jaxmap.kl(store, pairs="consecutive")
    assert run(["kl", f"--store={store.path}", f"--out={tmp_path}/c.csv",
                "--pairs=consecutive"]) == 0  # fmt: skip
    steps.write(tmp_path / "d.csv")
    assert (tmp_path / "c.csv").read_bytes() == (tmp_path / "d.csv").read_bytes()
    with pytest.raises(InputError, match=r"^pairs=x: neither all"):
        jaxmap.kl(store, pairs="x")


def test_a_report_in_a_notebook(tmp_path):
    of = texts()
    rng = np.random.default_rng(0)
    records = [record(of, f"org/m{k}", scores=-700 + 50 * rng.normal(size=len(of)))
               for k in range(3)]  # fmt: skip
    store, _ = filled(tmp_path / "store", of, *records)
    report = jaxmap.report(store)
    assert report.save(tmp_path) == [tmp_path / "report.html"]
    assert set(report.draw()) == {"kl"}
    shown = report._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert "<!DOCTYPE" not in shown  # escaped
    frame = report.to_dataframe()
    bits = -records[1].log_likelihood.sum() / np.log(2) / of.num_bytes.sum()
    assert frame.bits_per_byte[1] == pytest.approx(bits)
    pair, _ = filled(tmp_path / "two", of, *records[:2])
    two, [found] = jaxmap.report(pair), jaxmap.kl(pair).to_dataframe().itertuples()
    apart = records[0].log_likelihood - records[1].log_likelihood
    kl = np.var(apart) / (2 * of.num_bytes.mean() * np.log(2))
    assert found.kl_bits_per_byte == pytest.approx(kl)
    assert with_error(kl, found.standard_error) in two.html

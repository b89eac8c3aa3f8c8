from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from support.stores import filled, record, texts
from support.synthetic_release import SMALL, make_release

from jaxmap.released.convert import import_released
from jaxmap.released.export import write_released
from jaxmap.stats.divergence import kl_pairs
from jaxmap.store.weight_distances import WeightDistances, read_distances, write_distances

FEW = replace(SMALL, texts=30, seeds=1, steps=(*SMALL.steps[:9], *SMALL.steps[-30:]))


def load(path):
    return (
        pickle.loads(path.read_bytes()) if path.suffix == ".pkl" else json.loads(path.read_text())
    )


def assert_same(found, expected, where):
    """Equal bit for bit: types, order of keys, dtypes, numbers."""
    assert type(found) is type(expected), where
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key, value in expected.items():
            assert_same(found[key], value, f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, pair in enumerate(zip(found, expected, strict=True)):
            assert_same(*pair, f"{where}/{place}")
    elif isinstance(expected, np.ndarray):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), where
        assert found.tobytes() == expected.tobytes(), where
    else:
        assert found == expected, where


@pytest.mark.parametrize("change", [{}, {"flat": True}, {"raw": True}])
def test_import_and_export_are_inverse(tmp_path, change):
    planted = make_release(tmp_path / "in", replace(FEW, **change))
    path = planted.path("oyama2025_logp.pkl")  # the real one is of another dtype than the runs
    path.write_bytes(pickle.dumps(load(path).astype(np.float64)))
    store, _ = import_released(tmp_path / "in", tmp_path / "store")
    written = write_released(store, tmp_path / "out")
    before = {p.relative_to(planted.root): p for p in planted.root.rglob("*") if p.is_file()}
    assert {p.relative_to(tmp_path / "out") for p in written} == set(before)
    for name, path in before.items():
        assert_same(load(tmp_path / "out" / name), load(path), str(name))
    again, _ = import_released(tmp_path / "out", tmp_path / "again")
    assert [e.identity for e in again.records()] == [e.identity for e in store.records()]


def test_a_vector_that_is_not_finite_becomes_none(tmp_path):
    planted = make_release(tmp_path / "in", replace(FEW, nan=True))
    store, report = import_released(tmp_path / "in", tmp_path / "store")
    write_released(store, tmp_path / "out")
    runs = load(tmp_path / "out/logp/pretraining_logp.pkl")
    before = load(planted.path("pretraining_logp.pkl"))
    assert {run: list(steps) for run, steps in runs.items()} == {
        run: list(steps) for run, steps in before.items()
    }
    assert runs["1b"][124_000] is None
    _, again = import_released(tmp_path / "out", tmp_path / "again")
    assert len(again.absent) == len(report.absent) + 1


def test_a_store_of_ones_own(tmp_path):
    """Its KL is the same after the way out and back, for the bytes of its texts go with it."""
    own = texts(40)
    rng = np.random.default_rng(0)
    rows = -700 + rng.normal(size=(6, 40))
    store, _ = filled(
        tmp_path / "own", own,
        record(own, "org/run", "step1000", scores=rows[0]),
        record(own, "org/run", "step2000", scores=rows[1]),
        record(own, "org/m", scores=rows[2]),
        record(own, "org/m", scores=rows[3], quantisation="int8"),
        record(own, "org/m", scores=rows[4], layer=0, num_layers=1),
        record(own, "org/m", scores=rows[5], layer=1, num_layers=1),
    )  # fmt: skip
    distance = np.array([[np.nan, 2.5], [np.nan, np.nan]])
    write_distances(store.path, WeightDistances("org/run", np.array([1000, 2000]), distance))
    write_released(store, tmp_path / "out")
    again, report = import_released(tmp_path / "out", tmp_path / "again")
    assert report.notes == [next(note for note in report.notes if "oyama2025" in note)]
    assert [e.label for e in again.records()] == [e.label for e in store.records()]
    assert again.texts.fingerprint == own.fingerprint
    np.testing.assert_array_equal(again.texts.text_bytes, own.num_bytes)
    kl = [
        kl_pairs(s.log_likelihoods(s.records()), np.array([[0, 1]]), s.texts.mean_bytes).kl
        for s in (store, again)
    ]
    np.testing.assert_array_equal(*kl)
    np.testing.assert_array_equal(read_distances(again.path)["org/run"].distance, distance)

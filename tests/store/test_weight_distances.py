"""Rows of weight distances are completed, and read beside a matrix that was imported."""

from __future__ import annotations

import numpy as np

from jaxmap.store.weight_distances import (
    DistanceRow,
    DistanceTable,
    WeightDistances,
    read_distances,
    write_distances,
)


def test_a_run_s_row_is_completed_not_replaced(tmp_path):
    rows = DistanceTable(tmp_path)
    path = rows.add(DistanceRow("r", 3, "c", {(1, "a"): 1.0}))
    assert rows.add(DistanceRow("r", 3, "c", {(2, "b"): 2.0, (1, "a"): 5.0})) == path
    assert DistanceTable(tmp_path).of("r")[3, "c"].to == {(1, "a"): 1.0, (2, "b"): 2.0}
    state = path.stat().st_mtime_ns
    rows.add(DistanceRow("r", 3, "c", {(2, "b"): 2.0}))
    assert path.stat().st_mtime_ns == state


def test_rows_beside_a_matrix(tmp_path):
    """As imported, and continued here."""
    matrix = np.full((3, 3), np.nan)
    matrix[0, 1], matrix[1, 2] = 1.0, 2.0
    write_distances(tmp_path, WeightDistances("r", np.array([0, 1, 5]), matrix))
    DistanceTable(tmp_path).add(DistanceRow("r", 7, "c", {(5, "b"): 4.0}))
    found = read_distances(tmp_path)["r"]
    assert found.steps.tolist() == [0, 1, 5, 7]
    assert found.distance[0, 1] == 1.0
    assert found.distance[1, 2] == 2.0
    assert found.distance[2, 3] == 4.0
    assert np.isnan(found.distance).sum() == 13


def test_rows_under_the_run_name_of_an_earlier_version(tmp_path):
    """`run/` was the run of run/step1, run/step2; what was measured then is found and completed."""
    rows = DistanceTable(tmp_path)
    rows.add(DistanceRow("run/", 2, "c2", {(1, "c1"): 3.0}))
    again = DistanceTable(tmp_path)
    again.add(DistanceRow("run", 2, "c2", {(0, "c0"): 5.0}))
    (row,) = DistanceTable(tmp_path).of("run").values()
    assert row.to == {(0, "c0"): 5.0, (1, "c1"): 3.0}
    assert read_distances(tmp_path)["run"].distance[1, 2] == 3.0

"""Rows that are the same scores under two names are passed over, and said once."""

from __future__ import annotations

import numpy as np
import pytest
from support.pages import data_of, rows_of, written
from support.stores import filled, record, texts

from jaxmap.analysis.context import Context
from jaxmap.analysis.genealogy import ask_nobody
from jaxmap.analysis.nearest_models import measure_nearest
from jaxmap.sharing.dataset_card import make_card
from jaxmap.stats.divergence import first_equals, kl_KK, nearest_others


def test_nearest_others_pass_over_equal_rows():
    rng = np.random.default_rng(3)
    ll_KN = rng.normal(-300, 30, (6, 50))
    ll_KN[4] = ll_KN[1]
    ll_KN[2] = ll_KN[1] + rng.normal(0, 1e-3, 50)
    kl = kl_KK(ll_KN, 400.0).kl
    np.testing.assert_array_equal(first_equals(kl), [0, 1, 2, 3, 1, 5])
    nearest = nearest_others(kl)
    assert nearest[[1, 4]].tolist() == [2, 2]
    assert nearest[2] in (1, 4)
    for k in (0, 3, 5):
        others = [j for j in range(6) if j != k]
        assert kl[k, nearest[k]] == min(kl[k, j] for j in others)
    assert nearest_others(np.zeros((3, 3))).tolist() == [-1, -1, -1]
    assert nearest_others(np.zeros((1, 1))).tolist() == [-1]
    assert nearest_others(np.zeros((0, 0))).tolist() == []


@pytest.fixture
def released_twice(tmp_path):
    """A run whose last checkpoint is also a model of the run's own name, and two more models."""
    of = texts()
    rng = np.random.default_rng(0)
    scores = [-3.0 * of.num_bytes + rng.normal(0, 40, len(of)) for _ in range(4)]
    records = [
        record(of, "/models/pythia-14m", f"step{1000 * k}", scores=scores[k]) for k in range(2)
    ]
    records.append(record(of, "/released/pythia-14m", scores=scores[1]))
    records += [record(of, f"org/{name}", scores=scores[k]) for name, k in (("a", 2), ("b", 3))]
    return filled(tmp_path / "store", of, *records)[0]


def test_a_released_checkpoint_is_not_the_nearest_of_itself(released_twice, tmp_path):
    found = measure_nearest(Context(released_twice, ask=ask_nobody))
    names = [one.name for one in found.models]
    assert len(set(names)) == len(names) == 4
    assert len(found.same) == 1
    assert (found.kl_K > 0).all()
    _, page = written(released_twice, tmp_path / "report.html")
    (same,) = ([names[k] for k in rows] for rows in found.same)
    rows = {row["model"]: row for row in rows_of(page, "nearest.csv")}
    assert rows[same[1]]["same_scores_as"] == same[0]
    assert rows[same[0]]["same_scores_as"] == ""
    assert rows[same[0]]["nearest"] == rows[same[1]]["nearest"] not in same
    assert page.words.count("The same scores under several names") == 1
    assert "pythia-14m = released/pythia-14m." in page.words
    assert "at a KL of 0 bits" not in page.words
    heat = data_of(tmp_path / "report.html")["heat"]
    assert len(set(heat["labels"])) == 4


@pytest.mark.parametrize("count", [2, 3, 6])
def test_a_store_of_equal_scores_says_so(tmp_path, count):
    of = texts()
    scores = -3.0 * of.num_bytes
    store, _ = filled(
        tmp_path / "store", of, *(record(of, f"org/m{k}", scores=scores) for k in range(count))
    )
    _, page = written(store, tmp_path / "report.html")
    which = "The two" if count == 2 else "All"
    assert f"{which} have the same scores on every text: their KL is 0." in page.words
    assert " = ".join(f"org/m{k}" for k in range(count)) in page.words
    assert "nearest two models" not in page.words
    if count > 2:
        assert data_of(tmp_path / "report.html")["maps"][0]["nearest"] == [None] * count
    card = make_card(store, "org/repo")["README.md"].decode()
    assert "| org/m0 | 1 |" in card

"""How runs move: each measure against its definition in NumPy, by domain, drawn, saved."""

from __future__ import annotations

import csv
import itertools
import json

import numpy as np
import pytest
from support.stores import filled, record

import jaxmap
from jaxmap.analysis.context import Context
from jaxmap.analysis.dynamics import MEASURES, measure_dynamics
from jaxmap.corpus.texts import load_texts
from jaxmap.errors import InputError
from jaxmap.naming import names_of
from jaxmap.store.weight_distances import WeightDistances, write_distances

STEPS = np.array([0, 500, *range(1000, 16_000, 1000)])
RUNS = ("p-1b", "p-1b-seed1", "p-1b-seed2")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Three seeds that start together and drift apart, on texts of two domains and a few others."""
    folder = tmp_path_factory.mktemp("dynamics")
    rng = np.random.default_rng(0)
    domains = ["web"] * 90 + ["code"] * 60 + ["poems"] * 10
    with open(folder / "texts.jsonl", "w") as file:
        for n, domain in enumerate(domains):
            text = f"{n} " + "abc " * int(rng.integers(20, 60))
            file.write(json.dumps({"text": text, "pile_set_name": domain}) + "\n")
    texts = load_texts(folder / "texts.jsonl")
    first = -2.0 * texts.num_bytes
    wide = 1 + (np.array(domains) == "code")
    records = []
    for run in RUNS:
        scores = first.copy()
        for step in STEPS:
            records.append(record(texts, f"org/{run}", f"step{step}", scores=scores))
            scores = scores + rng.normal(0, 3, len(scores)) * wide
    store, _ = filled(folder / "store", texts, *records)
    x_ID = rng.normal(size=(len(STEPS), 30)).cumsum(axis=0)
    squared_II = ((x_ID[:, None] - x_ID[None]) ** 2).sum(-1)
    write_distances(store.path, WeightDistances("org/p-1b", STEPS, np.triu(squared_II, 1)))
    return folder, store, domains, squared_II


def kl(a, b, mean_bytes):
    return np.var(a - b) / (2 * mean_bytes * np.log(2))


def test_measures_are_their_definitions(made):
    _, store, _, squared_II = made
    context = Context(store)
    found = measure_dynamics(context, start_from=1000, window=5)
    series = {(one.measure, one.run): one for one in found.series}
    assert {one.measure for one in found.series} == set(MEASURES)
    pre = context.timeline
    ll = {run.name: pre.ll_KN[rows] for run, rows in zip(pre.runs, pre.rows, strict=True)}
    ll_IN, B = ll["p-1b"], pre.mean_bytes
    kl_II = np.array([[kl(a, b, B) for b in ll_IN] for a in ll_IN])
    one, i = series["speed", "p-1b"], np.arange(len(STEPS) - 1)
    np.testing.assert_array_equal(one.times, STEPS[1:])
    np.testing.assert_allclose(one.values, np.sqrt(kl_II[i, i + 1]) / np.diff(STEPS), rtol=1e-9)
    one, m = series["turn", "p-1b"], i[1:]
    cosine = (kl_II[m - 1, m + 1] - kl_II[m - 1, m] - kl_II[m, m + 1]) / (
        2 * np.sqrt(kl_II[m - 1, m] * kl_II[m, m + 1])
    )
    np.testing.assert_allclose(one.values, cosine, rtol=1e-7, atol=1e-9)
    np.testing.assert_array_equal(one.times, STEPS[1:-1])
    bent = 2 * np.sqrt(1 - cosine**2) / np.sqrt(kl_II[m - 1, m + 1])
    np.testing.assert_allclose(series["curvature", "p-1b"].values, bent, rtol=1e-7)
    np.testing.assert_allclose(series["kl_to_final", "p-1b"].values, kl_II[:-1, -1], rtol=1e-9)
    one = series["kl_between_seeds", "p-1b, 3 runs"]
    np.testing.assert_array_equal(one.times, STEPS)
    means = [np.mean([kl(ll[a][n], ll[b][n], B) for a, b in itertools.combinations(RUNS, 2)])
             for n in range(len(STEPS))]  # fmt: skip
    np.testing.assert_allclose(one.values, means, rtol=1e-9, atol=1e-15)
    assert means[0] == 0 < means[1] < means[-1]  # one start, then apart
    one, own = series["exponent", "p-1b"], series["exponent_weight", "p-1b"]
    starts = range(2, 2 + len(one.times))
    np.testing.assert_array_equal(one.times, STEPS[list(starts)])
    assert len(starts) == len(STEPS) - 2 - 5
    for values, distance in ((one.values, kl_II), (own.values, squared_II)):
        for value, s in zip(values, starts, strict=True):
            lags = np.log((STEPS[s + 1 : s + 6] - STEPS[s]).astype(float))
            expected = np.polyfit(lags, np.log(distance[s, s + 1 : s + 6]), 1)[0]
            assert value == pytest.approx(expected, rel=1e-8)
    both = series["exponent_difference", "p-1b"]
    np.testing.assert_allclose(both.values, own.values - one.values, rtol=1e-9)
    np.testing.assert_allclose(both.errors, np.hypot(own.errors, one.errors), rtol=1e-9)
    for one in found.series:
        assert (one.errors[np.isfinite(one.values)] >= 0).all()


def test_errors_have_the_size_that_other_texts_would_give(made):
    _, store, _, _ = made
    found = measure_dynamics(Context(store))
    [speeds] = [one for one in found.series if (one.measure, one.run) == ("speed", "p-1b")]
    # For Gaussian differences the relative error of a standard deviation is 1 / sqrt(2 N); that the
    # domains differ in size adds some.
    relative = np.median(speeds.errors / speeds.values)
    assert 0.8 / np.sqrt(2 * 155) < relative < 2.5 / np.sqrt(2 * 155)


def test_domains(made, tmp_path):
    folder, store, domains, _ = made
    found = jaxmap.dynamics(store, texts=folder / "texts.jsonl", by="pile_set_name", out=tmp_path)
    assert any("poems has " in str(note) for note in found.notes)
    pre = Context(store).timeline
    ends = {}
    for one in found.series:
        if one.measure == "kl_to_final" and one.run == "p-1b" and one.domain:
            kept = [n for n, text in enumerate(pre.texts) if domains[text] == one.domain]
            B = store.texts.text_bytes[pre.texts[kept]].mean()
            ll_IN = pre.ll_KN[pre.rows[0]][:, kept]
            assert one.values[0] == pytest.approx(kl(ll_IN[0], ll_IN[-1], B), rel=1e-9)
            ends[one.domain] = one.values[0]
    assert set(ends) == {"web", "code"}
    assert ends["code"] > 2 * ends["web"]
    with open(tmp_path / "dynamics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(one.times) for one in found.series) == len(found.to_dataframe())
    assert {row["domain"] for row in rows} == {"", "web", "code"}
    assert (tmp_path / "dynamics.png").stat().st_size > 20_000
    assert (tmp_path / "dynamics_domains.svg").is_file()
    labels = {axes.get_ylabel() for axes in found.draw()["dynamics"].axes}
    assert {"cosine of turns", "exponent, weights"} <= labels
    with pytest.raises(InputError, match=r"texts and `by`: give both or none"):
        jaxmap.dynamics(store, by="pile_set_name")
    with pytest.raises(InputError, match="no text has the field 'set'; they have pile_set_name"):
        jaxmap.dynamics(store, texts=folder / "texts.jsonl", by="set")
    (tmp_path / "other.jsonl").write_text('{"text": "x", "set": "y"}\n')
    with pytest.raises(InputError, match="not the texts that the store was made with"):
        jaxmap.dynamics(store, texts=tmp_path / "other.jsonl", by="set")


def test_along_tokens(made):
    _, store, _, _ = made
    given = names_of([{"model": "org/p-1b*", "tokens_per_step": 2_000_000}])
    found = measure_dynamics(Context(store.with_runs(given), time="tokens"))
    [one] = [one for one in found.series if (one.measure, one.run) == ("speed", "p-1b")]
    assert (one.unit, one.times[0]) == ("token", 10**9)
    axes = found.draw()["dynamics"].axes[0]
    assert axes.get_xlabel() == "training tokens"
    assert axes.get_ylabel().endswith("a token)")

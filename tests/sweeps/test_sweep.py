"""`jaxmap sweep`: one visit of a checkpoint gives all; what is done is recognised."""

from __future__ import annotations

import itertools

import numpy as np
from support.checkpoints import (
    jaxmap,
    watch,
)
from support.checkpoints import (
    score as score_command,
)
from support.sweeps import ALL, STEPS, config_of, contents, is_clean, sweep

from jaxmap.engine.scorer import Scorers
from jaxmap.store import Store
from jaxmap.store.weight_distances import read_distances
from jaxmap.sweeps import checkpoint_scorer


def test_one_visit_gives_all(place, monkeypatch):
    loads, reads = watch(monkeypatch), watch(monkeypatch, "read")
    scorers = []
    of = Scorers.of

    def one(self, model):
        scorers.append(of(self, model))
        return scorers[-1]

    monkeypatch.setattr(Scorers, "of", one)
    config, store = config_of(place, **ALL), place / "ein Lager é"
    ran = sweep(config, store)
    assert (ran.code, ran.out) == (0, "12 scored, 0 already done, 0 failed\n")
    assert loads == [f"step{step}" for step in STEPS]
    assert reads == []
    # One program for the model and one for its copy, compiled at the first checkpoint.
    assert len(scorers) == 18  # each model twice: to compile, before its weights, and to score
    assert {scorer.compilations for scorer in scorers} == {1}
    assert len(set(map(id, scorers))) == 2
    is_clean(store)
    labels = [entry.label.rpartition("@")[2] for entry in Store.open(store).records()]
    assert labels[:5] == ["step0", "step0#layer00", "step0#layer01", "step0#layer02", "step0+int8"]
    assert len(labels) == 5 * len(STEPS)
    [distances] = read_distances(store).values()
    assert distances.steps.tolist() == list(STEPS)
    assert (distances.distance > 0).sum() == 4 * 2 + 1

    # The parts asked for one by one come to the same, and nothing is done again.
    models = f"{place}/run0@step{{{','.join(map(str, STEPS))}}}"
    texts = place / "texts.jsonl"
    assert score_command(place / "parts", texts, models, quantize="int8").code == 0
    assert score_command(place / "parts", texts, models, lens=True).code == 0
    assert reads == []
    loads.clear()
    ran = score_command(place / "parts", texts, models, lens=True, weight_distance=2)
    assert (ran.code, ran.out) == (0, "0 scored, 6 already done, 0 failed\n")
    assert (loads, reads) == ([], [f"step{step}" for step in STEPS])
    assert contents(place / "parts") == contents(store)

    reads.clear()
    assert sweep(config, store).out == "0 scored, 12 already done, 0 failed\n"
    assert (loads, reads) == ([], [])


def test_a_lost_distance_is_measured_again(place, monkeypatch):
    config, store = config_of(place, weight_distance=2), place / "store"
    assert sweep(config, store).code == 0
    whole = contents(store)
    [row] = store.glob("weights/*@step4-*.npz")
    row.unlink()
    reads = watch(monkeypatch, "read")
    assert sweep(config, store).out == "0 scored, 6 already done, 0 failed\n"
    assert reads == ["step1", "step2", "step4"]
    assert contents(store) == whole


def test_shares_add_up_to_the_whole(place, monkeypatch):
    """Weight distances across the border of two shares included."""
    config = config_of(place, weight_distance=2)
    assert sweep(config, place / "whole").code == 0
    counts = []
    for index in (2, 0, 1):
        ran = sweep(config, place / "shares", f"--shard_index={index}", "--shard_count=3")
        assert ran.code == 0
        counts.append(ran.out.split()[0])
    assert counts == ["2", "2", "2"]
    assert contents(place / "shares") == contents(place / "whole")
    is_clean(place / "shares")
    assert sweep(config, place / "shares").out.startswith("0 scored, 6 already")


def test_a_statistic_that_is_added_is_computed_alone(place, monkeypatch):
    """To a finished store, with layers and a copy: nothing else is computed or written."""
    asked: list[tuple[str, ...]] = []
    real = checkpoint_scorer.score_rows

    def score_rows(*arguments, **options):
        asked.append(tuple(options["statistics"]))
        return real(*arguments, **options)

    monkeypatch.setattr(checkpoint_scorer, "score_rows", score_rows)
    flags = dict(lens=True, quantize="none,int8")
    model, texts, store = f"{place}/run0@step{{0,1}}", place / "texts.jsonl", place / "store"
    assert score_command(store, texts, model, **flags).code == 0
    whole = ("log_likelihood", "entropy")
    before = {path: path.read_bytes() for path in store.glob("records/*")}
    asked.clear()
    ran = score_command(store, texts, model, statistics="entropy", **flags)
    assert (ran.code, ran.out) == (0, "4 scored, 0 already done, 0 failed\n")
    assert asked == [("entropy",)] * 4
    assert all(path.read_bytes() == content for path, content in before.items())
    assert len(list(store.glob("records/*"))) == 2 * len(before)
    ran = score_command(store, texts, model, statistics=",".join(whole), **flags)
    assert (ran.code, ran.out) == (0, "0 scored, 4 already done, 0 failed\n")
    assert "done        8 of 8" in jaxmap("status", f"--store={store}").out

    # At once it is the same, from one scan.
    asked.clear()
    assert score_command(place / "at once", texts, model, statistics="entropy", **flags).code == 0
    assert asked == [whole] * 4
    one, two = Store.open(store), Store.open(place / "at once")
    for a, b in zip(one.records(), two.records(), strict=True):
        assert a.label == b.label
        assert a.statistics == b.statistics
        for name, array in one.load(a).arrays.items():
            np.testing.assert_allclose(array, two.load(b).arrays[name], rtol=1e-5, atol=1e-4)
    entropy_N = one.load(one.records()[0]).arrays["entropy"]
    assert (entropy_N >= 0).all()
    assert entropy_N.any()
    is_clean(store)


def test_statistics_per_token(place):
    model, texts, store = place / "run0" / "step0", place / "texts.jsonl", place / "store"
    flags = dict(statistics="token_log_likelihood,token_entropy")
    assert score_command(store, texts, model, **flags).code == 0
    opened = Store.open(store)
    [entry] = opened.records()
    kept = opened.load(entry)
    values_M, offsets_N1 = opened.load_tokens(entry, "token_log_likelihood")
    assert np.array_equal(np.diff(offsets_N1), kept.num_scored)
    sums_N = [float(values_M[a:b].astype(float).sum()) for a, b in itertools.pairwise(offsets_N1)]
    np.testing.assert_allclose(sums_N, kept.log_likelihood, rtol=1e-12)
    ran = score_command(store, texts, model, **flags)
    assert (ran.code, ran.out) == (0, "0 scored, 1 already done, 0 failed\n")

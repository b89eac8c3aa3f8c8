"""Texts chosen from a store, a model scored on those alone, and its place on the map."""

from __future__ import annotations

import json

import numpy as np
import pytest
from stores import FakeTexts, filled, record

from jaxmap.analysis.resample import choose, place_new, pmi_vectors, read_sample
from jaxmap.corpus.texts import TextSet, load_texts
from jaxmap.errors import InputError
from jaxmap.store import Store

N = 400


@pytest.fixture
def whole():
    return TextSet(tuple(f"{n} " + "x" * (20 + n % 7) for n in range(N)), source="whole.jsonl")


def scores(num_models=5):
    rng = np.random.default_rng(0)
    hard_N = rng.gamma(0.7, 40.0, N)
    return -900 + hard_N * rng.normal(size=(num_models, N))


@pytest.fixture
def store(tmp_path, whole):
    records = [record(whole, f"m{k}", scores=row) for k, row in enumerate(scores())]
    return filled(tmp_path / "store", whole, *records, record(whole, "m0", layer=1))[0]


def test_choose_score_place(tmp_path, store, whole):
    sample = choose(store, whole, tmp_path / "chosen.jsonl", 150)
    assert len(sample.texts) == 150
    chosen = load_texts(tmp_path / "chosen.jsonl")
    assert chosen.texts == tuple(whole.texts[index] for index in sample.texts)
    back = read_sample(tmp_path / "chosen.jsonl")
    for name in ("texts", "counts", "weights"):
        np.testing.assert_array_equal(getattr(back, name), getattr(sample, name))
    ll_KN = scores(6)
    clipped_KN = np.maximum(ll_KN, np.quantile(ll_KN[:5], 0.02))
    new, _ = filled(tmp_path / "new", chosen, record(chosen, "new", scores=ll_KN[5, sample.texts]))
    (placed,) = place_new(store, tmp_path / "chosen.jsonl", new)
    assert placed.model == "new"
    assert placed.others == ("m0", "m1", "m2", "m3", "m4")
    unit = 2 * whole.num_bytes.mean() * np.log(2)
    exact = np.array([np.var(clipped_KN[5] - clipped_KN[k]) for k in range(5)]) / unit
    kl, error = placed.divergence
    assert (abs(kl - exact) < 4 * error).all()
    assert (error < 0.3 * exact).all()


def test_what_does_not_fit(tmp_path, store, whole):
    other = TextSet(("a", "b"), source="other.jsonl")
    with pytest.raises(InputError, match=r"other\.jsonl: not the texts"):
        choose(store, other, tmp_path / "c.jsonl", 2)
    with pytest.raises(InputError, match="401 of 400 texts"):
        choose(store, whole, tmp_path / "c.jsonl", 401)
    choose(store, whole, tmp_path / "c.jsonl", 20)
    new = Store.create(tmp_path / "new", other)
    with pytest.raises(InputError, match="scored on other texts"):
        place_new(store, tmp_path / "c.jsonl", new)
    (tmp_path / "plain.jsonl").write_text('{"text": "a"}\n')
    with pytest.raises(InputError, match=r"plain\.jsonl: not a file of chosen texts"):
        place_new(store, tmp_path / "plain.jsonl", new)
    rows = [json.loads(line) for line in (tmp_path / "c.jsonl").read_text().splitlines()]
    rows[0]["index"] = N + 3
    (tmp_path / "c.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    chosen = load_texts(tmp_path / "c.jsonl")
    new, _ = filled(tmp_path / "fits", chosen, record(chosen, "new"))
    with pytest.raises(InputError, match="names texts that"):
        place_new(store, tmp_path / "c.jsonl", new)


def test_pmi_of_two_stores(tmp_path):
    given = FakeTexts("a" * 64, np.arange(5, 25))
    alone = FakeTexts("b" * 64, np.arange(5, 25))
    conditional, _ = filled(tmp_path / "c", given, *(record(given, f"m{k}") for k in (0, 1, 2)))
    unconditional, _ = filled(tmp_path / "u", alone, *(record(alone, f"m{k}") for k in (2, 1, 3)))
    labels, pmi_KN = pmi_vectors(conditional, unconditional)
    assert labels == ("m1", "m2")

    def of(store, label):
        entry = next(entry for entry in store.records() if entry.label == label)
        return store.load(entry).log_likelihood

    for label, row in zip(labels, pmi_KN, strict=True):
        np.testing.assert_array_equal(row, of(conditional, label) - of(unconditional, label))
    short = FakeTexts("c" * 64, np.arange(5, 24))
    with pytest.raises(InputError, match="not the responses"):
        pmi_vectors(conditional, filled(tmp_path / "s", short, record(short, "m1"))[0])
    with pytest.raises(InputError, match="no model in common"):
        pmi_vectors(conditional, filled(tmp_path / "n", alone, record(alone, "k"))[0])

"""Texts chosen from a store, a model scored on those alone, and its place on the map."""

from __future__ import annotations

import json

import numpy as np
import pytest
from support.stores import FakeTexts, filled, record

from jaxmap.analysis.context import Context
from jaxmap.analysis.place import place_new
from jaxmap.analysis.pmi import write_pmi
from jaxmap.analysis.resample import choose, read_sample
from jaxmap.corpus.texts import TextSet, load_texts
from jaxmap.errors import InputError
from jaxmap.stats.centre import double_centre
from jaxmap.stats.resample import Sample, draw, project
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
    picked = choose(store, whole, 150)
    assert picked.write(tmp_path / "chosen.jsonl") == tmp_path / "chosen.jsonl"
    assert picked.to_dataframe()["index"].tolist() == picked.sample.texts.tolist()
    sample = picked.sample
    assert len(sample.texts) == 150
    chosen = load_texts(tmp_path / "chosen.jsonl")
    assert chosen.texts == tuple(whole.texts[index] for index in sample.texts)
    back = read_sample(tmp_path / "chosen.jsonl")
    for name in ("texts", "counts", "weights"):
        np.testing.assert_array_equal(getattr(back, name), getattr(sample, name))
    ll_KN = scores(6)
    clipped_KN = np.maximum(ll_KN, np.quantile(ll_KN[:5], 0.02))
    new, _ = filled(tmp_path / "new", chosen, record(chosen, "new", scores=ll_KN[5, sample.texts]))
    placing = place_new(store, tmp_path / "chosen.jsonl", new)
    (placed,) = placing.placed
    assert placed.model == "new"
    assert placing.others == ("m0", "m1", "m2", "m3", "m4")
    unit = 2 * whole.num_bytes.mean() * np.log(2)
    exact = np.array([np.var(clipped_KN[5] - clipped_KN[k]) for k in range(5)]) / unit
    kl, error = placed.divergence
    assert (abs(kl - exact) < 4 * error).all()
    assert (error < 0.3 * exact).all()
    assert "new: nearest is m" in placing.text()


def test_what_does_not_fit(tmp_path, store, whole):
    other = TextSet(("a", "b"), source="other.jsonl")
    with pytest.raises(InputError, match=r"other\.jsonl: not the texts"):
        choose(store, other, 2)
    with pytest.raises(InputError, match="401 of 400 texts"):
        choose(store, whole, 401)
    choose(store, whole, 20).write(tmp_path / "c.jsonl")
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
    found = write_pmi(conditional, unconditional, tmp_path / "pmi")
    store, added = found.store, found.added
    means = found.to_dataframe().set_index("model")["mean_pmi_nats"]
    labels = [entry.label for entry in store.records()]
    assert labels == ["m1", "m2"]
    assert added == 2

    def of(store, label):
        entry = next(entry for entry in store.records() if entry.label == label)
        return store.load(entry).vector

    for label in labels:
        np.testing.assert_array_equal(
            of(store, label), of(conditional, label) - of(unconditional, label)
        )
        assert means[label] == of(store, label).mean()
    assert write_pmi(conditional, unconditional, tmp_path / "pmi").added == 0
    assert not Context(store).has_losses
    short = FakeTexts("c" * 64, np.arange(5, 24))
    with pytest.raises(InputError, match="not the responses"):
        write_pmi(
            conditional, filled(tmp_path / "s", short, record(short, "m1"))[0], tmp_path / "p"
        )
    with pytest.raises(InputError, match="no model in common"):
        write_pmi(conditional, filled(tmp_path / "n", alone, record(alone, "k"))[0], tmp_path / "p")
    other, _ = filled(tmp_path / "o", alone, record(alone, "m1", commit="c9"))
    with pytest.raises(InputError, match=r"m1: commit c0 in .*, c9 in"):
        write_pmi(conditional, other, tmp_path / "p")


def test_the_place_in_the_plane(tmp_path, store, whole):
    """A model of the map, placed as if it were new, lies where it is, within its error."""
    choose(store, whole, 200, seed=3).write(tmp_path / "c.jsonl")
    chosen = load_texts(tmp_path / "c.jsonl")
    index = read_sample(tmp_path / "c.jsonl").texts
    old_KN = np.maximum(scores(), np.quantile(scores(), 0.02))
    records = [record(chosen, f"m{k}", scores=old_KN[k, index]) for k in range(5)]
    new, _ = filled(tmp_path / "new", chosen, *records)
    placing = place_new(store, tmp_path / "c.jsonl", new)
    placing.save(tmp_path / "out")
    off_K2 = np.array([one.xy_2 for one in placing.placed]) - placing.embedding.xy_K2
    error_K2 = np.array([one.error_2 for one in placing.placed])
    assert (abs(off_K2) < 4 * error_K2).all()
    assert (abs(off_K2) > 0.1 * error_K2).any()
    span = np.ptp(placing.embedding.xy_K2, axis=0)
    assert (error_K2 < 0.3 * span).all()
    for name, rows in (("placed.csv", 25), ("coordinates.csv", 10)):
        assert len((tmp_path / "out" / name).read_text().splitlines()) == 1 + rows
    for suffix in ("png", "svg", "pdf"):
        assert (tmp_path / "out" / f"placed.{suffix}").stat().st_size > 0


def test_all_texts_once_give_the_place_itself():
    rng = np.random.default_rng(2)
    ll_KN = rng.normal(size=(6, 50))
    q_KN = double_centre(ll_KN)
    (_, _, axis_DN) = np.linalg.svd(q_KN, full_matrices=False)
    sample = Sample(np.arange(50), np.ones(50, np.int64), np.ones(50))  # p = 1 / 50, 50 draws
    found, _ = project(axis_DN[:2].T, ll_KN[3] - ll_KN.mean(axis=0), sample)
    np.testing.assert_allclose(found, q_KN[3] @ axis_DN[:2].T, rtol=1e-9)


def test_places_of_many_draws_scatter_about_the_place_as_their_errors_say():
    rng = np.random.default_rng(4)
    size_N = rng.gamma(0.7, 10.0, 500)
    axis_N2 = size_N[:, None] * rng.normal(size=(500, 2))
    axis_N2 -= axis_N2.mean(axis=0)
    d_N = size_N * rng.normal(size=500) + 0.02 * axis_N2[:, 0]
    share_N = (size_N + 5) / (size_N + 5).sum()
    found, errors = [], []
    for seed in range(400):
        sample = draw(share_N, 200, seed)
        place_2, error_2 = project(axis_N2[sample.texts], d_N[sample.texts], sample)
        found.append(place_2)
        errors.append(error_2)
    spread_2 = np.std(found, axis=0)
    assert (abs(np.mean(found, axis=0) - d_N @ axis_N2) < 4 * spread_2 / np.sqrt(400)).all()
    np.testing.assert_allclose(np.mean(errors, axis=0), spread_2, rtol=0.2)

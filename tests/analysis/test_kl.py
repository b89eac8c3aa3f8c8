from __future__ import annotations

import csv
import math

import numpy as np
import pytest
from support.stores import filled, record, texts

from jaxmap.analysis.kl_files import write_kl, write_kl_matrix
from jaxmap.errors import InputError
from jaxmap.stats.divergence import kl_strips
from jaxmap.store import Failure, Item, Store

TEXTS = texts()


def kl_oracle(a_N, b_N):
    return np.var(a_N - b_N) / (2 * TEXTS.num_bytes.mean() * math.log(2))


def se_oracle(a_N, b_N):
    d2_N = (a_N - b_N - np.mean(a_N - b_N)) ** 2
    unit = 2 * TEXTS.num_bytes.mean() * math.log(2)
    return math.sqrt((np.mean(d2_N**2) - np.mean(d2_N) ** 2) / len(d2_N)) / unit


def store_of(path, *names, **facts):
    records = [record(TEXTS, *name.split("@"), **facts) for name in names]
    return filled(path, TEXTS, *records)[0]


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["model_a", "model_b", "kl_bits_per_byte", "standard_error"]
    return [(a, b, float(kl), float(error)) for a, b, kl, error in rows]


def pairs_of(store, tmp_path, pairs="all", base=None):
    count = write_kl(store, tmp_path / "kl.csv", pairs, base)
    found = rows(tmp_path / "kl.csv")
    assert count == len(found)
    scores = {entry.label: store.load(entry).log_likelihood for entry in store.records()}
    for a, b, kl, error in found:
        assert kl == pytest.approx(kl_oracle(scores[a], scores[b]), rel=1e-12)
        assert error == pytest.approx(se_oracle(scores[a], scores[b]), rel=1e-9)
    return [(a, b) for a, b, _, _ in found]


def test_all(tmp_path):
    store = store_of(tmp_path / "s", "x,y", "a", "b@step10", "b@step9", "ö")
    expected = ["a", "b@step9", "b@step10", "x,y", "ö"]
    assert pairs_of(store, tmp_path, "all") == [
        (a, b) for i, a in enumerate(expected) for b in expected[i + 1 :]
    ]


def test_a_base_and_each_other(tmp_path):
    store = store_of(tmp_path / "s", "x,y", "a", "b@step10", "b@step9")
    for base in ("b@step9", "x,y"):
        others = [e.label for e in store.records() if e.label != base]
        assert pairs_of(store, tmp_path, base=base) == [(base, other) for other in others]
    for base, message in (("b", "names several results: b@step9, b@step10"), ("c", "no model 'c'")):
        with pytest.raises(InputError, match=message) as error:
            write_kl(store, tmp_path / "kl.csv", base=base)
        assert error.value.field == "base"
    with pytest.raises(InputError, match="`base` chooses the pairs"):
        write_kl(store, tmp_path / "kl.csv", "consecutive", "a")
    with pytest.raises(InputError, match=r"a .npy holds all pairs"):
        write_kl(store, tmp_path / "kl.npy", base="a")


def test_consecutive(tmp_path):
    store = store_of(
        tmp_path / "s",
        *(f"a/b@step{step}" for step in (1000, 0, 2, 512, 10)),
        "a/b",
        "a/b@main",
        *(f"demo/small/step{step}" for step in (20, 100, 3)),
        *(f"demo/seed{seed}-step{step}" for seed in (1, 2) for step in (5, 40)),
        "alone@step1",
        "no/steps",
        *(f"olmo@stage{s}-step{n}-tokens{t}B" for s, n, t in ((2, 9, 1), (1, 10, 8), (1, 9, 70))),
    )
    for variant in ({"quantisation": "int8"}, {"dtype": "float16", "is_default_dtype": False}):
        store_of(tmp_path / "s", "a/b@step0", "a/b@step10", **variant)
    store_of(tmp_path / "s", "a/b@step0", "a/b@step10", layer=1)
    assert set(pairs_of(store, tmp_path, "consecutive")) == {
        ("a/b@step0", "a/b@step2"),
        ("a/b@step2", "a/b@step10"),
        ("a/b@step10", "a/b@step512"),
        ("a/b@step512", "a/b@step1000"),
        ("a/b@step0+int8", "a/b@step10+int8"),
        ("a/b@step0+float16", "a/b@step10+float16"),
        ("a/b@step0#layer01", "a/b@step10#layer01"),
        ("demo/small/step3", "demo/small/step20"),
        ("demo/small/step20", "demo/small/step100"),
        ("demo/seed1-step5", "demo/seed1-step40"),
        ("demo/seed2-step5", "demo/seed2-step40"),
        ("olmo@stage1-step9-tokens70B", "olmo@stage1-step10-tokens8B"),
    }


def test_consecutive_says_when_neighbours_may_span_a_gap(tmp_path, caplog):
    store = store_of(tmp_path / "s", "a@step1", "a@step3")
    write_kl(store, tmp_path / "kl.csv", "consecutive")
    assert caplog.records == []
    store.ask([Item("a", "step1"), Item("a", "step2"), Item("a", "step3")])
    store.add_failure(Failure(Item("a", "step4"), "why"))
    with caplog.at_level("WARNING"):
        write_kl(store, tmp_path / "kl.csv", "consecutive")
    assert "2 of the requested models are missing or failed" in caplog.text


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("a@step1:a@step2", ("a@step1", "a@step2")),
        ("a@step2:a@step1", ("a@step2", "a@step1")),
        ("C:/models/m:b", ("C:/models/m", "b")),
        ("b:C:/models/m", ("b", "C:/models/m")),
        ("C:/models/m/:b", ("C:/models/m", "b")),  # a folder as a shell completes it
        ("b:org/one", ("b", "org/one@step7")),  # the only result of this model
        ("b:b+int8", ("b", "b+int8")),
    ],
)
def test_two_named(tmp_path, spec, expected):
    store = store_of(tmp_path / "s", "a@step1", "a@step2", "C:/models/m", "b", "org/one@step7")
    store_of(tmp_path / "s", "b", quantisation="int8")
    assert pairs_of(store, tmp_path, spec) == [expected]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("a:org/name", "'a' names several results: a@step1, a@step2: name one"),
        ("org/nmae:a@step1", "no model 'org/nmae' in the store; nearest: org/name"),
        ("a@step1:org/nam", "no model 'org/nam' in the store; nearest: org/name"),
        ("org/name:org/name", "the same result twice"),
        ("everything", "neither all, nor consecutive, nor A:B"),
        ("", "neither all, nor consecutive, nor A:B"),
        (":", "no model ''"),
    ],
)
def test_names_that_do_not_fit(tmp_path, spec, message):
    store = store_of(tmp_path / "s", "a@step1", "a@step2", "org/name")
    with pytest.raises(InputError) as caught:
        write_kl(store, tmp_path / "kl.csv", spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "kl.csv").exists()


def test_names_that_fit_twice(tmp_path):
    store = store_of(tmp_path / "s", "a", "b:c", "a:b", "c")
    with pytest.raises(InputError, match="fits several pairs"):
        write_kl(store, tmp_path / "kl.csv", "a:b:c")


def test_too_few(tmp_path):
    store = Store.create(tmp_path / "s", TEXTS)
    for number in range(2):
        with pytest.raises(InputError, match=rf"holds {number} result\(s\), a KL needs two"):
            write_kl(store, tmp_path / "kl.csv", "all")
        store.add(record(TEXTS, f"m{number}"))
    with pytest.raises(InputError, match="no two checkpoints of one training run"):
        write_kl(store, tmp_path / "kl.csv", "consecutive")
    assert write_kl(store, tmp_path / "kl.csv") == 1


def test_matrix(tmp_path, monkeypatch):
    store = store_of(tmp_path / "s", "a", "b@step10", "b@step9", "ö")
    monkeypatch.setitem(kl_strips.__kwdefaults__, "tile", 3)  # more than one tile
    assert write_kl_matrix(store, tmp_path / "kl.npy") == 4
    labels = (tmp_path / "kl.npy.models.txt").read_text(encoding="utf-8").splitlines()
    assert labels == ["a", "b@step9", "b@step10", "ö"]
    scores = store.log_likelihoods(store.records())
    found = np.load(tmp_path / "kl.npy", allow_pickle=False)
    for i in range(4):
        for j in range(4):
            assert found[i, j] == pytest.approx(kl_oracle(scores[i], scores[j]), rel=1e-10)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["kl.npy", "kl.npy.models.txt", "s"]

from __future__ import annotations

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from support.release_oracle import Oracle
from support.stores import filled, record, texts
from support.synthetic_release import SMALL, make_release

from jaxmap.analysis.context import Context
from jaxmap.analysis.diffusion import measure_diffusion
from jaxmap.analysis.scale import DRAWS, measure_scale
from jaxmap.errors import InputError
from jaxmap.released.convert import import_released
from jaxmap.stats.scale import random_pairs, summarise
from jaxmap.store import Failure, Item, Store

ORDER = ["later", "early", "seed", "size", "8-bit", "4-bit", "ft", "intra-type", "random", "layer"]


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# A release, against the script -------------------------------------------------------------------


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    folder = tmp_path_factory.mktemp("release")
    layout = replace(SMALL, raw=True, nan=True, step_in_name=False)
    planted = make_release(folder / "in", layout)
    store, _ = import_released(folder / "in", folder / "store")
    scale = measure_scale(Context(store, recipe="jaxmap"))
    scale.save(folder / "out")
    return folder, planted, scale, Oracle(folder / "in")


def test_every_setting_agrees_with_the_script(release):
    folder, _, _, oracle = release
    rows = table(folder / "out/scale.csv")
    assert [row["setting"] for row in rows] == ORDER
    for row, (name, kl) in zip(rows, oracle.scale().items(), strict=True):
        assert row["setting"] == name
        assert int(row["n"]) == len(kl) > 0
        expected = (np.median(kl), kl.mean(), *np.percentile(kl, (25, 75)))
        found = [float(row[column]) for column in ("median", "mean", "q25", "q75")]
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        assert 0 < float(row["standard_error"]) < float(row["median"])


def test_every_pair_is_listed(release):
    folder, _, _, oracle = release
    rows = table(folder / "out/scale_pairs.csv")
    for name, kl in oracle.scale().items():
        found = [float(row["kl_bits_per_byte"]) for row in rows if row["setting"] == name]
        np.testing.assert_allclose(np.sort(found), np.sort(kl), rtol=1e-6)
    assert all(float(row["standard_error"]) > 0 for row in rows)
    assert "EleutherAI/pythia-1b@step116000" not in {row["model_a"] for row in rows}


def test_what_was_dropped_is_told(release):
    _, planted, scale, _ = release
    text = scale.text()
    for run in planted.bad_runs:
        assert f"excluded: EleutherAI/{run}, all checkpoints" in text
    assert "excluded: EleutherAI/pythia-1b, step 116000" in text
    for name in (*planted.none, *planted.nan):
        if "@step" in name:
            assert f"absent: {name.replace('@step', ', step ')}" in text
    assert f"{len(planted.merges)} merges" in text
    assert "6 of 200 texts dropped" in text


def test_figures(release):
    folder = release[0]
    for suffix in ("png", "svg", "pdf"):
        assert (folder / f"out/scale.{suffix}").stat().st_size > 5000
    svg = (folder / "out/scale.svg").read_text()
    assert all(name in svg for name in (*ORDER, "n = 21", "bits per byte"))


def test_diffusion_agrees_with_the_script(release):
    folder, _, _, oracle = release
    found = measure_diffusion(Context(Store.open(folder / "store"), recipe="jaxmap"))
    found.save(folder / "diffusion")
    rows = table(folder / "diffusion/diffusion.csv")
    expected = oracle.exponents()
    assert len(rows) == len(expected)
    for row in rows:
        run = row["trajectory"].removeprefix("pythia-")
        exponent, r2 = expected[run, int(row["start_step"]), row["space"]]
        np.testing.assert_allclose(float(row["exponent"]), exponent, rtol=1e-6)
        np.testing.assert_allclose(float(row["r2"]), r2, rtol=1e-6)
    gap = [r for r in rows if r["trajectory"] == "pythia-1b" and r["start_step"] == "116000"]
    assert [row["exponent"] for row in gap] == ["nan", "nan"]
    steps = table(folder / "diffusion/consecutive.csv")
    kl = oracle.steps()
    assert len(steps) == len(kl)
    for row in steps:
        key = row["trajectory"].removeprefix("pythia-"), int(row["from_step"]), int(row["to_step"])
        np.testing.assert_allclose(float(row["kl_bits_per_byte"]), kl[key], rtol=1e-6)
    assert any("excluded: EleutherAI/pythia-1b, step 116000" in str(note) for note in found.notes)
    for name in ("diffusion", "consecutive"):
        for suffix in ("png", "svg", "pdf"):
            assert (folder / f"diffusion/{name}.{suffix}").stat().st_size > 5000


def test_displacement_agrees_with_the_definition(release):
    folder, _, _, oracle = release
    measure_diffusion(Context(Store.open(folder / "store"), recipe="jaxmap")).save(folder / "msd")
    rows = {
        (row["trajectory"], row["space"], int(row["lag_steps"])): row
        for row in table(folder / "msd/msd.csv")
    }
    steps = oracle.runs["2.8b"]
    for lag in (1000, 70_000, 141_000):
        kl = [
            oracle.kl(steps[s], steps[s + lag], oracle.pre_bytes)
            for s in steps
            if s >= 1000 and steps[s] is not None and steps.get(s + lag) is not None
        ]  # fmt: skip
        row = rows["pythia-2.8b", "log_likelihood", lag]
        assert int(row["pairs"]) == len(kl)
        assert float(row["msd"]) == pytest.approx(np.mean(kl), rel=1e-6)
    weight = rows["pythia-2.8b", "weight", 11_000]
    assert weight["msd"] == "nan"  # not computed is not zero


# Other stores ------------------------------------------------------------------------------------

TEXTS = texts(80)


def run_records(name, steps, seed=0, **facts):
    rng = np.random.default_rng(seed)
    walk = -700 + np.cumsum(rng.normal(size=(len(steps), len(TEXTS))), axis=0)
    return [
        record(TEXTS, f"{name}", f"step{step}", scores=row, **facts)
        for step, row in zip(steps, walk, strict=True)
    ]


def test_a_store_of_two_small_runs(tmp_path):
    steps = range(100, 800, 100)
    records = [*run_records("models/demo-xs", steps), *run_records("models/demo-s", steps, 1)]
    records += run_records("models/demo-xs-seed1", steps, 2)
    store, _ = filled(tmp_path, TEXTS, *records)
    scale = measure_scale(Context(store, warmup_steps=200))
    found = {row.setting.name: row for row in scale.rows}
    assert {name: found[name].summary.n for name in ORDER[:4]} == {
        "later": 4, "early": 4, "seed": 1, "size": 1,
    }  # fmt: skip
    pairs = found["later"].setting
    labels = [tuple(pairs.entries[i].label for i in pair) for pair in pairs.pairs_P2]
    assert labels[:2] == [
        (f"models/demo-s@step{a}", f"models/demo-s@step{a + 100}") for a in (500, 600)
    ]
    size = found["size"].setting
    assert {size.entries[i].label for i in size.pairs_P2[0]} == {
        "models/demo-s@step700", "models/demo-xs@step700",
    }  # fmt: skip
    for name in ORDER[4:]:
        assert found[name].summary.n == 0
        assert "training checkpoints" in found[name].setting.reason
    scale.save(tmp_path / "out")
    absent = table(tmp_path / "out/scale.csv")[-1]
    assert absent == {"setting": "layer", "median": "", "mean": "", "q25": "", "q75": "", "n": "0",
                      "standard_error": "", "floor": "", "near_floor": "",
                      "recipe": "jaxmap", "group": "", "scores": ""}  # fmt: skip


def test_a_failed_checkpoint_is_a_gap(tmp_path):
    steps = [2000, 3000, 5000, 6000, 7000]
    store, _ = filled(tmp_path, TEXTS, *run_records("org/run-1b", steps))
    store.add_failure(Failure(Item("org/run-1b", "step4000"), "no such file"))
    scale = measure_scale(Context(store))
    pairs = [row.setting for row in scale.rows[:2]]
    labels = {
        tuple(one.entries[i].label.partition("step")[2] for i in pair)
        for one in pairs for pair in one.pairs_P2
    }  # fmt: skip
    assert labels == {("2000", "3000"), ("5000", "6000"), ("6000", "7000")}
    assert "absent: org/run-1b, step 4000" in scale.text()


def model(name, scores, **facts):
    return record(TEXTS, name, scores=scores, model={"model_type": "llama"}, **facts)


def models(rng, count=5):
    return {f"org/m{k}": -700 + 50 * rng.normal(size=len(TEXTS)) for k in range(count)}


def test_models_layers_and_quantised(tmp_path):
    rng = np.random.default_rng(3)
    scores = models(rng)
    records = [model(name, row) for name, row in scores.items()]
    near = {name: row + rng.normal(size=len(TEXTS)) for name, row in scores.items()}
    records += [model("org/m0", near["org/m0"], quantisation="int8")]
    records += [model("org/m1", near["org/m1"], quantisation="nf4")]
    records += [model("org/m9", near["org/m1"], quantisation="int8")]  # no plain one
    records += [model("org/m2", scores["org/m2"] - k, layer=k, num_layers=3) for k in (0, 1, 3)]
    store, _ = filled(tmp_path, TEXTS, *records)
    parents = {"org/m1": ("org/m0",), "org/m2": ("org/m0", "org/m1"), "org/m3": ("org/base",),
               "org/m4": ("org/m1",)}  # fmt: skip
    asked = []

    def ask(name):
        asked.append(name)
        return parents.get(name, ())

    found = {row.setting.name: row for row in measure_scale(Context(store, ask=ask)).rows}
    assert {name: found[name].summary.n for name in ORDER[4:]} == {
        "8-bit": 1, "4-bit": 1, "ft": 2, "intra-type": 2, "random": 2, "layer": 1,
    }  # fmt: skip
    ft = found["ft"].setting
    assert {tuple(ft.entries[i].label for i in pair) for pair in ft.pairs_P2} == {
        ("org/m1", "org/m0"), ("org/m4", "org/m1"),
    }  # fmt: skip
    floor = np.quantile(np.stack(list(scores.values())), 0.02)
    d_N = np.maximum(scores["org/m0"], floor) - np.maximum(near["org/m0"], floor)
    unit = 2 * TEXTS.num_bytes.mean() * np.log(2)
    assert found["8-bit"].divergence.kl[0] == pytest.approx(np.var(d_N) / unit, rel=1e-9)
    zero_N, one_N = (np.maximum(scores["org/m2"] - k, floor) for k in (0, 1))
    expected = np.var(zero_N - one_N) / unit  # the floor alone tells them apart
    assert found["layer"].divergence.kl[0] == pytest.approx(expected, rel=1e-9)
    assert sorted(asked) == sorted(scores)
    measure_scale(Context(store, ask=ask))
    assert len(asked) == len(scores)  # kept in the store


def test_parents_from_a_file_win(tmp_path):
    scores = models(np.random.default_rng(4))
    store, _ = filled(tmp_path / "s", TEXTS, *(model(*one) for one in scores.items()))
    path = tmp_path / "parents.json"
    path.write_text(json.dumps({"org/m1": "org/m2", "org/m2": ["org/m0", "org/m1"],
                                "org/m0": None, "org/m3": None, "org/m4": None}))  # fmt: skip

    def ask(name):
        raise AssertionError("the file says it all")

    scale = measure_scale(Context(store, parents=path, ask=ask))
    ft = next(row.setting for row in scale.rows if row.setting.name == "ft")
    assert [tuple(ft.entries[i].label for i in p) for p in ft.pairs_P2] == [("org/m1", "org/m2")]
    assert "1 merges" in scale.text()


def test_no_setting_at_all(tmp_path):
    store, _ = filled(tmp_path, TEXTS, model("org/m", -700 + np.arange(len(TEXTS)) * 1.0))
    with pytest.raises(InputError, match=r"none of the ten settings.*ft: .*two models"):
        measure_scale(Context(store))


# The parts ---------------------------------------------------------------------------------------


def test_random_pairs():
    pairs = random_pairs(30, 50)
    assert pairs.shape == (50, 2)
    assert (pairs[:, 0] < pairs[:, 1]).all()
    assert len({tuple(pair) for pair in pairs}) == 50
    np.testing.assert_array_equal(pairs, random_pairs(30, 50))
    assert len(random_pairs(4, 100)) == 6
    assert random_pairs(1, 3).shape == (0, 2)


def test_standard_error_of_a_median():
    """The texts are the sample: medians of fresh sets of texts scatter as the error says."""
    from jaxmap.stats.bootstrap import bootstrap_pairs, bootstrap_shares
    from jaxmap.stats.divergence import kl_pairs

    rng = np.random.default_rng(5)
    pairs = np.array([(0, k) for k in range(1, 8)])
    found = []
    for _ in range(60):
        ll_KN = 10 * rng.standard_t(6, size=(8, 400))
        kl = kl_pairs(ll_KN, pairs, 900.0).kl
        draws = bootstrap_pairs(ll_KN, pairs, bootstrap_shares(400, DRAWS), 900.0)
        found.append((np.median(kl), summarise(kl, draws).standard_error))
    medians, errors = np.array(found).T
    assert np.median(errors) == pytest.approx(medians.std(), rel=0.35)

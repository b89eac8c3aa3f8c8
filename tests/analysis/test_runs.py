from __future__ import annotations

import math

import pytest
from support.stores import filled, record, texts

from jaxmap.analysis.runs import Name, parameters_of, parse_name, runs_of, single_models
from jaxmap.store import Failure, Item
from jaxmap.variant import Variant

TEXTS = texts()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("EleutherAI/pythia-410m", Name("EleutherAI/pythia-*", "410m", None)),
        ("EleutherAI/pythia-410m-seed3", Name("EleutherAI/pythia-*", "410m", 3)),
        ("EleutherAI/pythia-1.4b-deduped", Name("EleutherAI/pythia-*-deduped", "1.4b", None)),
        ("models/pythia-demo-xs-seed1", Name("models/pythia-demo-*", "xs", 1)),
        ("models/pythia-demo-m", Name("models/pythia-demo-*", "m", None)),
        ("allenai/OLMo-2-1124-7B", Name("allenai/OLMo-2-1124-*", "7B", None)),
        ("gpt2", Name("gpt2", "", None)),
        ("run", Name("run", "", None)),
        ("a/7b", Name("a/*", "7b", None)),
    ],
)
def test_names(name, expected):
    assert parse_name(name) == expected


def test_parameters():
    assert parameters_of("410m") == 410e6
    assert parameters_of("1.4B") == 1.4e9
    assert math.isnan(parameters_of("xs"))


def test_runs_by_size_with_their_gaps(tmp_path):
    names = [(f"org/p-{size}", step) for size in ("1b", "70m", "1.4b") for step in (2, 10)]
    names += [("org/p-70m-seed2", 2), ("org/p-70m-seed2", 10), ("org/alone-1b", 5)]
    records = [record(TEXTS, name, f"step{step}") for name, step in names]
    records += [record(TEXTS, f"run/step{step}") for step in (3, 1)]
    records += [record(TEXTS, "org/p-70m"), record(TEXTS, "org/p-70m", "step5", layer=1),
                record(TEXTS, "org/p-70m", "step7", quantisation="int8")]  # fmt: skip
    store, _ = filled(tmp_path, TEXTS, *records)
    store.ask([Item("org/p-1b", "step4"), Item("org/p-1b", "step2")])
    store.add_failure(Failure(Item("run/step2", None), "why"))
    store.add_failure(Failure(Item("run/step9", None, variant=Variant(quantisation="int8")), "why"))
    runs = runs_of(store)
    assert [run.name for run in runs] == ["p-70m", "p-70m-seed2", "p-1b", "p-1.4b", "run"]
    steps = {run.name: run.steps.tolist() for run in runs}
    assert steps["p-1b"] == [2, 4, 10]
    assert steps["run"] == [1, 2, 3]
    assert steps["p-70m"] == [2, 10]
    gap = next(run for run in runs if run.name == "p-1b")
    assert [entry and entry.identity.revision for entry in gap.entries] == ["step2", None, "step10"]
    assert [entry.label for entry in single_models(store.records())] == ["org/p-70m"]


def test_known_sizes_win_over_names(tmp_path):
    records = [
        record(TEXTS, f"m/demo-{size}", f"step{step}", model={"num_parameters": count})
        for size, count in (("xs", 10), ("s", 20), ("m", 30)) for step in (1, 2)
    ]  # fmt: skip
    store, _ = filled(tmp_path, TEXTS, *records)
    assert [run.facts.size for run in runs_of(store)] == ["xs", "s", "m"]


def test_short_names_that_coincide(tmp_path):
    records = [record(TEXTS, f"{org}/p-1b", f"step{step}") for org in "ab" for step in (1, 2)]
    store, _ = filled(tmp_path, TEXTS, *records)
    assert [run.name for run in runs_of(store)] == ["a/p-1b", "b/p-1b"]

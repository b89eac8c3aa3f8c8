from __future__ import annotations

import pytest
from support.stores import filled, record, texts

from jaxmap.analysis.runs import runs_of, single_models, size_of
from jaxmap.errors import InputError
from jaxmap.store import Failure, Item
from jaxmap.variant import Variant

TEXTS = texts()


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
    assert [run.facts.size_word for run in runs_of(store)] == ["xs", "s", "m"]


def test_short_names_that_coincide(tmp_path):
    records = [record(TEXTS, f"{org}/p-1b", f"step{step}") for org in "ab" for step in (1, 2)]
    store, _ = filled(tmp_path, TEXTS, *records)
    assert [run.name for run in runs_of(store)] == ["a/p-1b", "b/p-1b"]


def test_stages_of_one_repository_are_runs_of_their_own(tmp_path):
    names = [f"stage1-step{step}-tokens{step}B" for step in (1000, 2000, 3000)]
    names += [f"stage2-ingredient{n}-step{step}-tokens{step}B"
              for n in (1, 2) for step in (1000, 2000)]  # fmt: skip
    store, _ = filled(tmp_path, TEXTS, *(record(TEXTS, "org/OLMo-1B", name) for name in names))
    runs = runs_of(store)
    assert {run.name: run.steps.tolist() for run in runs} == {
        "OLMo-1B@stage1": [1000, 2000, 3000],
        "OLMo-1B@stage2-ingredient1": [1000, 2000],
        "OLMo-1B@stage2-ingredient2": [1000, 2000],
    }
    assert sorted(e.identity.revision for run in runs for e in run.entries if e) == sorted(names)
    assert {run.parameters for run in runs} == {1e9}


def test_two_checkpoints_of_one_step_are_named(tmp_path):
    store, _ = filled(tmp_path, TEXTS, *(
        record(TEXTS, "org/a", name) for name in ("step1000", "step-1000", "step2000")
    ))  # fmt: skip
    with pytest.raises(InputError, match="org/a@step1000 and org/a@step-1000 are both step 1000"):
        runs_of(store)
    for variant in ({"quantisation": "int8"}, {"layer": 1}):  # of another variant is another result
        other, _ = filled(tmp_path / str(variant), TEXTS, *(
            record(TEXTS, "org/a", "step1000"), record(TEXTS, "org/a", "step2000"),
            record(TEXTS, "org/a", "step-1000", **variant),
        ))  # fmt: skip
        assert [run.steps.tolist() for run in runs_of(other)] == [[1000, 2000]]


def test_runs_timed_by_tokens(tmp_path):
    names = ["1T", "240b_tokens", "train_00500B"]
    store, _ = filled(tmp_path, TEXTS, *(record(TEXTS, "org/a", name) for name in names))
    (run,) = runs_of(store)
    assert run.steps.tolist() == [240 * 10**9, 500 * 10**9, 10**12]
    assert single_models(store.records()) == []


def test_sizes_as_recorded_and_as_named(tmp_path):
    store, _ = filled(
        tmp_path, TEXTS, record(TEXTS, "org/LLaMA-32K-7b"), record(TEXTS, "org/gpt2"),
        record(TEXTS, "org/x-7b", model={"num_parameters": 6_738_415_616}),
    )  # fmt: skip
    assert [size_of(entry) for entry in store.records()] == [7e9, None, 6_738_415_616.0]

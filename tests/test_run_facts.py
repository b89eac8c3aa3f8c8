"""What is given of runs by hand: names, order, patterns, tokens; and where it is kept and read."""

from __future__ import annotations

import json

import pytest
from support.stores import filled, record, texts

from jaxmap.analysis.runs import runs_of
from jaxmap.checkpoint.listing import thinned
from jaxmap.checkpoint.refs import parse_refs
from jaxmap.errors import InputError
from jaxmap.naming import Names, RunFacts, names_of, parse, read_runs_file
from jaxmap.store import Store
from jaxmap.sweeps.config_schema import config_dict, read_config
from jaxmap.sweeps.tasks import plan_tasks

TEXTS = texts()
MARIN = {
    "model": "marin-community/marin-8b-base",
    "order": ["kestrel", "ocelot", "jellyfish"],
}


def told(names: Names, *checkpoint: str) -> tuple[str, int | None, int | None]:
    name = names.parse(*checkpoint)
    return name.run, name.step, name.tokens


def test_nothing_given_is_the_grammar():
    for ref, revision in (("org/a", "stage1-step5-tokens2B"), ("org/a-step-480k-1T", None)):
        assert Names().parse(ref, revision) == parse(ref, revision)
    other = names_of([{"model": "org/b", "order": ["x"]}])
    assert other.parse("org/a", "step5") == parse("org/a", "step5")


def test_an_order_of_branches():
    names = names_of([MARIN])
    ref = MARIN["model"]
    assert told(names, ref, "kestrel") == ("", 1, None)
    assert told(names, ref, "jellyfish") == ("", 3, None)
    assert names.parse(ref, "main").time is None
    assert names.parse(ref, "ocelot").run_name == ref
    assert told(names, f"./runs/{'ocelot'}") == ("", None, None)
    local = names_of([{"model": "runs", "order": ["first", "second"]}])
    assert told(local, "./runs/second") == ("", 2, None)
    assert local.parse("./runs/second").run_name == "./runs"
    assert local.parse("./runs", "first").run_name == "./runs"


def test_places_and_patterns():
    names = names_of(
        [
            {"model": "org/a*", "steps": {"early": 10, "late": 500}, "tokens": {"late": 7}},
            {"model": "org/a1", "pattern": r"(?P<run>[a-z]+)\.(?P<step>\d+k?)\.(?P<tokens>\w+)"},
            {"model": "org/b", "run": "warm", "pattern": r"u(?P<tokens>[\d.]+B)$"},
        ]
    )
    assert told(names, "org/a2", "late") == ("", 500, 7)
    assert told(names, "org/a1", "early") == ("", 10, None)
    assert told(names, "org/a1", "warm.12k.15B") == ("warm", 12_000, 15_000_000_000)
    assert told(names, "org/b", "u2.5B") == ("warm", None, 2_500_000_000)
    assert names.parse("org/b", "u2.5B").run_name == "org/b@warm"


def test_facts_of_runs_are_the_first_that_are_set():
    names = names_of(
        [
            {"model": "org/a", "run": "stage2*", "tokens_per_step": 50, "continues": "stage1"},
            {"model": "org/a", "tokens_per_step": 20, "tokens_before": 3},
        ]
    )
    two, one = names.facts("org/a", "stage2-step5"), names.facts("org/a", "stage1-step5")
    assert (two.tokens_per_step, two.tokens_before, two.continues, two.at) == (
        50,
        3,
        "stage1",
        None,
    )
    assert (one.tokens_per_step, one.tokens_before, one.continues) == (20, 3, None)
    assert names.facts("org/b", "step5").tokens_per_step is None


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({}, "names no model"),
        ({"model": "a", "tokens_a_step": 1}, "unknown field 'tokens_a_step'; known: at, continues"),
        ({"model": "a", "tokens_per_step": "4M"}, "tokens_per_step: '4M' is not what it takes"),
        ({"model": "a", "tokens_per_step": 0}, "tokens_per_step: 0 is no number"),
        ({"model": "a", "pattern": "("}, "pattern: not a regular expression"),
        ({"model": "a", "pattern": r"(?P<run>x)"}, "name a group (?P<step>...)"),
        ({"model": "a", "pattern": r"(?P<stp>\d)(?P<step>\d)"}, "name a group (?P<step>...)"),
        ({"model": "a", "order": ["x", "x"]}, "order: names a checkpoint twice"),
        ({"model": "a", "order": "x"}, "order: 'x' is not what it takes"),
        ({"model": "a", "steps": {"x": "1"}}, "steps: {'x': '1'} is not what it takes"),
    ],
)
def test_what_cannot_be_is_said(tmp_path, entry, said):
    path = tmp_path / "runs.json"
    path.write_text(json.dumps({"runs": [entry]}))
    with pytest.raises(InputError) as caught:
        read_runs_file(path)
    assert said in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files(tmp_path):
    toml = tmp_path / "runs.toml"
    toml.write_text('[[runs]]\nmodel = "org/a"\norder = ["x", "y"]\n[[runs]]\nmodel = "b"\n')
    names = read_runs_file(toml)
    assert names.given == (RunFacts("org/a", order=("x", "y")), RunFacts("b"))
    assert names_of(one.fields for one in names.given) == names
    whole = {"model": "a", "run": "", "order": ["x"], "steps": {"y": 0}, "tokens": {"y": 2},
             "pattern": "(?P<step>x)", "tokens_per_step": 2, "tokens_before": 0,
             "steps_before": 0, "continues": "", "at": 0}  # fmt: skip
    assert RunFacts.of_fields(whole).fields == whole
    for text in ("[[runs", "x = 1"):
        toml.write_text(text)
        with pytest.raises(InputError, match=r"runs\.toml: (not TOML|holds no \[\[runs\]\])"):
            read_runs_file(toml)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_runs_file(tmp_path / "none.toml")


def test_a_store_keeps_what_is_given(tmp_path):
    ref = MARIN["model"]
    store, _ = filled(tmp_path, TEXTS, *(record(TEXTS, ref, r) for r in ("kestrel", "ocelot")))
    assert runs_of(store) == []
    assert [run.steps.tolist() for run in runs_of(store.with_runs(names_of([MARIN])))] == [[1, 2]]
    assert runs_of(store) == []  # nothing was kept
    store.describe_runs(names_of([MARIN]))
    [run] = runs_of(Store.open(tmp_path))
    assert (run.name, run.steps.tolist()) == ("marin-8b-base", [1, 2])
    store.describe_runs(names_of([{"model": "org/x", "tokens_per_step": 4}]))
    store.describe_runs(names_of([{**MARIN, "order": ["ocelot", "kestrel"]}]))
    [run] = runs_of(Store.open(tmp_path))
    assert [entry.identity.revision for entry in run.entries] == ["ocelot", "kestrel"]
    assert store.names.facts("org/x").tokens_per_step == 4
    (tmp_path / "runs.json").write_text("{}")
    with pytest.raises(InputError, match=r"runs\.json: damaged"):
        runs_of(Store.open(tmp_path))


def test_two_of_one_place_are_an_error(tmp_path):
    names = names_of([{"model": "org/a", "steps": {"x": 5, "y": 5, "z": 6}}])
    store, _ = filled(tmp_path, TEXTS, *(record(TEXTS, "org/a", r) for r in "xyz"))
    with pytest.raises(InputError, match="org/a@x and org/a@y are both step 5 of the run org/a"):
        runs_of(store.with_runs(names))
    with pytest.raises(InputError, match="org/a@x and org/a@y are both step 5"):
        plan_tasks(parse_refs("org/a@{x,y,z}"), range(3), lambda ref: [], 2, names)


def test_tasks_of_a_run_given_by_hand():
    names = names_of([{"model": "org/a", "order": ["z", "x", "y"]}])
    refs = parse_refs("org/a@{z,x,y}")
    tasks = plan_tasks(refs, range(3), lambda ref: [], 2, names)
    assert {task.group.run for task in tasks} == {"org/a"}
    assert [task.step for task in tasks] == [1, 2, 3]


def test_thinned():
    refs = parse_refs("org/a@stage1-step{0:70:10},org/a@main,org/a@stage2-step{1,2}")
    found = [str(ref).partition("@")[2] for ref in thinned(refs, 4, Names())]
    assert found == ["stage1-step0", "stage1-step40", "stage1-step60", "main",
                     "stage2-step1", "stage2-step2"]  # fmt: skip
    assert thinned(refs, 0, Names()) == thinned(refs, 1, Names()) == refs


def test_configs(tmp_path):
    config = read_config(dict(config_dict(models=("org/a@x",), runs=(MARIN,), every=3)))
    assert (config.every, config.names()) == (3, names_of([MARIN]))
    path = tmp_path / "runs.toml"
    path.write_text('[[runs]]\nmodel = "org/a"\norder = ["x", "y"]\n')
    both = read_config({"models": "org/a", "runs": [MARIN], "runs_file": str(path)}).names()
    assert [one.model for one in both.given] == ["org/a", MARIN["model"]]
    for wrong, said in (("x", "not a list of mappings"), ([{"modle": "x"}], "unknown field")):
        with pytest.raises(InputError, match=said):
            read_config({"models": "org/a", "runs": wrong})

"""Stores through a dataset repository: what arrives is what left, in part or whole."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.full_disks import largest_file
from support.shared_stores import (
    COMMITS,
    HERE,
    REPO,
    TEXTS,
    files,
    hub_record,
    pulled_store,
    results,
    shared,
)
from support.stores import filled, record, texts

import jaxmap
from jaxmap.cli import program
from jaxmap.errors import InputError, JaxmapError
from jaxmap.sharing.push import push
from jaxmap.sharing.repository import Repository
from jaxmap.store import Store

# Of the Hub's client, about its own HTTP client.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_a_store_goes_there_and_comes_back(hub, store, tmp_path):
    pushed = jaxmap.push(store, REPO)
    assert (pushed.created, pushed.private) == (True, True)
    assert pushed.models == ("org/a", "org/b", "org/c")
    assert pushed.withheld == (HERE,)
    assert set(pushed.sent) == results(hub)
    assert len(pushed.sent) == 7  # five results, and two statistics of one
    assert pushed.text().startswith("7 files of 3 models pushed to the new private dataset org/")

    pulled = jaxmap.pull(tmp_path / "theirs", REPO)
    theirs = Store.open(tmp_path / "theirs")
    assert pulled.text() == "7 files of 3 models added from org/maps, 0 there already, 0 refused\n"
    assert theirs.texts.fingerprint == TEXTS.fingerprint
    assert theirs.texts.text_bytes.tolist() == TEXTS.num_bytes.tolist()
    ours = {entry.identity: entry for entry in store.records()}
    assert len(theirs.records()) == 5
    for entry in theirs.records():
        mine = ours[entry.identity]
        assert entry.statistics == mine.statistics
        np.testing.assert_array_equal(theirs.load(entry).vector, store.load(mine).vector)
        if "token_entropy" in entry.statistics:
            for a, b in zip(theirs.load_tokens(entry, "token_entropy"),
                            store.load_tokens(mine, "token_entropy"), strict=True):  # fmt: skip
                np.testing.assert_array_equal(a, b)
    [first] = [entry for entry in theirs.records() if entry.label == "org/a"]
    assert first.provenance.model == {"num_parameters": 1000, "base": ["org/b"]}


def test_twice_is_once(hub, store, tmp_path):
    jaxmap.push(store, REPO)
    commits = len(hub.datasets[REPO].commits)
    again = jaxmap.push(store, REPO)
    assert (again.sent, len(again.there), again.created) == ((), 7, False)
    assert len(hub.datasets[REPO].commits) == commits
    jaxmap.pull(tmp_path / "theirs", REPO)
    before = files(Store.open(tmp_path / "theirs"))
    reads = hub.asked["GET file"]
    again = jaxmap.pull(tmp_path / "theirs", REPO)
    assert (again.added, len(again.there)) == ((), 7)
    assert hub.asked["GET file"] == reads + 1  # store.json
    assert files(Store.open(tmp_path / "theirs")) == before


def test_two_people_push_at_once(hub, store, tmp_path):
    other, _ = filled(tmp_path / "other", replace(TEXTS, source="other.txt"),
                      hub_record("org/b", 1), hub_record("org/d", 3))  # fmt: skip
    # The second comes between the first one's look and its commit, for results and for the card.
    hub.before["commit"] = [lambda: jaxmap.push(other, REPO, card=False)]
    jaxmap.push(store, REPO)
    names = {entry.label for entry in pulled_store(tmp_path).records()}
    assert names == {"org/a", "org/a+int8", "org/a#layer01", "org/b", "org/c", "org/d"}
    card = shared(hub)["README.md"].decode()
    assert "4 models (4 checkpoints, 6 results)" in card
    for name in "abcd":
        assert f"| org/{name} |" in card


def test_an_interrupted_push_resumes(hub, store):
    hub.before["commit"] = [lambda: None, lambda: hub.faults.update(commit=[403])]
    with pytest.raises(InputError, match="does not let you write it; set HF_TOKEN"):
        push(store, REPO, commit_files=3)
    assert len(results(hub)) == 3
    assert len(jaxmap.push(store, REPO).sent) == 4
    assert len(results(hub)) == 7


def test_failing_answers_are_asked_again(hub, store, tmp_path):
    hub.faults.update(commit=[500], info=[503], file=[502, 502])
    assert len(jaxmap.push(store, REPO, card=False).sent) == 7
    hub.faults.update(file=[500, 500], info=[429])
    assert len(jaxmap.pull(tmp_path / "theirs", REPO).added) == 7


def test_a_pull_is_a_union(hub, store, tmp_path):
    jaxmap.push(store, REPO, card=False)
    mine = hub_record("org/b", 1, scores=np.arange(50.0))
    theirs, _ = filled(tmp_path / "theirs", TEXTS, mine, hub_record("org/d", 3))
    before = files(theirs)
    pulled = jaxmap.pull(theirs, REPO)
    assert (len(pulled.added), len(pulled.there)) == (6, 1)
    after = files(Store.open(theirs.path))
    assert {name: after[name] for name in before} == before  # nothing was overwritten
    labels = [entry.label for entry in Store.open(theirs.path).records()]
    assert labels == ["org/a", "org/a#layer01", "org/a+int8", "org/b", "org/c", "org/d"]


def test_files_beside_the_results_stay_there(hub, store, tmp_path):
    jaxmap.push(store, REPO)
    shared(hub).update({"claims/x.json": b"{}", "evil.py": b"", "runs.json": b"{}"})
    assert jaxmap.pull(tmp_path / "theirs", REPO).refused == {}
    found = {path.name for path in (tmp_path / "theirs").iterdir()}
    assert found <= {"store.json", "records", "token_arrays", "failures", "asked"}


def test_other_texts_are_refused_both_ways(hub, store, tmp_path):
    jaxmap.push(store, REPO, card=False)
    other_texts = texts(40)
    other, _ = filled(tmp_path / "other", other_texts,
                      record(other_texts, "org/z", commit=COMMITS[0]))  # fmt: skip
    with pytest.raises(InputError, match="holds results on other texts") as caught:
        jaxmap.push(other, REPO)
    assert caught.value.field == "repo"
    before = files(other)
    with pytest.raises(InputError, match="made with other texts"):
        jaxmap.pull(other, REPO)
    assert files(other) == before


def test_a_part(hub, store, tmp_path):
    jaxmap.push(store, REPO, models="org/[ab]", card=False)
    assert {name.split("/")[1][:5] for name in results(hub)} == {"org-a", "org-b"}
    pulled = jaxmap.pull(tmp_path / "theirs", REPO, models="org/a")
    assert pulled.models == ("org/a",)
    assert len(pulled.added) == 5
    with pytest.raises(InputError, match=r"org/maps holds nothing of org/q \(nearest: org-"):
        jaxmap.pull(tmp_path / "theirs", REPO, models="org/q")
    with pytest.raises(InputError, match="knows nothing of org/q"):
        jaxmap.push(store, REPO, models="org/q")


def test_checkpoints_by_pattern(hub, tmp_path):
    steps = [hub_record("org/m", n, f"step{n}") for n in range(4)]
    made, _ = filled(tmp_path / "s", TEXTS, *steps, hub_record("org/m", 5))
    jaxmap.push(made, REPO, card=False)
    pulled = jaxmap.pull(tmp_path / "theirs", REPO, models="org/m@step{1,2}")
    assert pulled.models == ("org/m@step1", "org/m@step2")
    assert jaxmap.pull(tmp_path / "theirs", REPO, models="org/m@*").models == (
        "org/m@step0", "org/m@step3",
    )  # fmt: skip
    assert jaxmap.pull(tmp_path / "theirs", REPO, models="org/m").models == ("org/m",)


@pytest.mark.parametrize("repo", ["maps", "org/maps/x", "https://x/y", "", "/org", "./x"])
def test_names_of_repositories(repo):
    with pytest.raises(InputError, match="write a dataset repository") as caught:
        Repository(repo)
    assert caught.value.field == "repo"


def test_what_is_not_there(hub, store, tmp_path):
    with pytest.raises(InputError, match="no such dataset on the Hub, or a private one"):
        jaxmap.pull(tmp_path / "theirs", REPO)
    Repository(REPO).create(private=True)
    with pytest.raises(InputError, match=r"holds no store \(no store.json\)"):
        jaxmap.pull(tmp_path / "theirs", REPO)
    jaxmap.push(store, REPO, card=False)
    with pytest.raises(InputError, match="no such revision"):
        jaxmap.pull(tmp_path / "theirs", REPO, revision="v1")
    assert not (tmp_path / "theirs").exists()


def test_one_may_not_make_it(hub, store):
    hub.faults["create"] = [401]
    with pytest.raises(JaxmapError, match="does not let you make it; set HF_TOKEN"):
        jaxmap.push(store, REPO)


def test_offline(hub, store, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InputError, match="offline"):
        jaxmap.push(store, REPO)


def test_from_the_command_line(hub, store, tmp_path, capsys):
    arguments = [f"--store={store.path}", f"--repo={REPO}"]
    assert program.run(["push", *arguments]) == 0
    out = capsys.readouterr().out
    assert "only its owners can see it: --public makes it for everybody" in out
    assert "1 models without a public name stayed here (/home/alice/secret/model)" in out
    theirs = [f"--store={tmp_path / 'theirs'}", f"--repo={REPO}"]
    assert program.run(["pull", *theirs]) == 0
    assert "7 files of 3 models added" in capsys.readouterr().out
    name = next(name for name in results(hub) if "org-b" in name)
    shared(hub)[name] = b"spoilt"
    next((tmp_path / "theirs").glob("records/org-b*")).unlink()
    assert program.run(["pull", *theirs]) == 1
    assert f"refused: {name}: not a whole" in capsys.readouterr().out


def test_a_full_disk_is_one_line_and_what_came_stays(hub, store, tmp_path):
    """Exit code 1; the same call then brings the rest."""
    jaxmap.push(store, REPO, local=True, card=False)
    before = dict(shared(hub))
    for size in (0, 300):
        with (
            largest_file(size),
            pytest.raises(JaxmapError, match=r"cannot be written: .*ulimit") as caught,
        ):
            jaxmap.pull(tmp_path / "theirs", REPO)
        assert not isinstance(caught.value, InputError)
        with (
            largest_file(size),
            pytest.raises(JaxmapError, match=r"cannot be written: .*ulimit"),
        ):
            jaxmap.push(store, REPO, local=True)
    assert dict(shared(hub)) == before
    assert jaxmap.pull(tmp_path / "theirs", REPO).refused == {}

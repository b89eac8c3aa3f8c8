"""Stores through a dataset repository: what leaves, what arrives, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import safetensors.numpy
from support.stores import filled, record, texts

import jaxmap
from jaxmap.cli import program
from jaxmap.errors import InputError, JaxmapError
from jaxmap.sharing.redaction import PublicNames, public_identity
from jaxmap.sharing.repository import Repository
from jaxmap.sharing.shared_files import NotSharedError, arrived, content_of, files_of
from jaxmap.store import Item, Store, TextFacts

# Of the Hub's client, about its own HTTP client.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

TEXTS = replace(texts(), source="/home/alice/secret/texts.jsonl")
REPO = "org/maps"
COMMITS = ["0123456789abcdef" * 2 + f"{n:08x}" for n in range(9)]
HERE = "/home/alice/secret/model"
FILES = (("config.json", 1, 2, 3, 4),)


def hub_record(ref, n=0, revision=None, **more):
    return record(TEXTS, ref, revision, commit=COMMITS[n], files=FILES, **more)


def entropy_of(one):
    """Further statistics of a result: one per text, one per token."""
    scored = one.num_scored
    offsets_N1 = np.concatenate([[0], np.cumsum(scored)]).astype(np.int64)
    arrays = {
        "entropy": np.linspace(1, 2, len(scored)),
        "token_entropy": np.linspace(0, 1, offsets_N1[-1]).astype(np.float32),
    }
    return replace(one, arrays=arrays, offsets_N1=offsets_N1)


@pytest.fixture
def store(tmp_path) -> Store:
    first = hub_record("org/a", model={"num_parameters": 1000, "tokenizer": "/home/alice/t",
                                       "base": ["org/b", "/home/alice/x", HERE],
                                       "note": "/home/alice"})  # fmt: skip
    made, _ = filled(
        tmp_path / "ours", TEXTS, first, hub_record("org/b", 1), hub_record("org/c", 2),
        hub_record("org/a", quantisation="int8"), hub_record("org/a", layer=1),
        record(TEXTS, HERE, commit="sha256:" + "0" * 64, files=FILES),
    )  # fmt: skip
    made.add(entropy_of(first))
    return made


def files(store: Store) -> dict[str, bytes]:
    names = [*store.path.glob("records/*"), *store.path.glob("token_arrays/*")]
    return {path.relative_to(store.path).as_posix(): path.read_bytes() for path in names}


def shared(hub) -> dict[str, bytes]:
    return hub.datasets[REPO].files


def results(hub) -> set[str]:
    return {name for name in shared(hub) if name.startswith(("records/", "token_arrays/"))}


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


def test_nothing_private_leaves(hub, store):
    jaxmap.push(store, REPO, local=True)
    assert any(name.startswith("records/model+") for name in shared(hub))
    everything = b"\n".join([*shared(hub).values(), *map(str.encode, shared(hub))])
    for private in (b"alice", b"secret", b"/home", b"config.json"):
        assert private not in everything
    assert json.loads(shared(hub)["store.json"])["source"] == "texts.jsonl"
    assert not any("alice" in message for message in hub.datasets[REPO].messages)


def test_a_model_of_a_folder_under_a_public_name(hub, store, tmp_path):
    pushed = jaxmap.push(
        store, REPO, models=HERE, names=f"{HERE}=me/model", public=True, card=False
    )
    assert (pushed.models, pushed.private, pushed.withheld) == (("me/model",), False, ())
    jaxmap.pull(tmp_path / "theirs", REPO)
    [entry] = Store.open(tmp_path / "theirs").records()
    assert entry.label == "me/model"
    assert entry.identity.commit == "sha256:" + "0" * 64
    with pytest.raises(InputError, match=r"secret/model has no public name.*`names`.*`local`"):
        jaxmap.push(store, REPO, models=HERE)


def test_two_folders_of_one_name_get_names(hub, tmp_path):
    commit = "sha256:" + "1" * 64
    made, _ = filled(tmp_path / "s", TEXTS, record(TEXTS, "./a/m", commit=commit),
                     record(TEXTS, "./b/m", commit="sha256:" + "2" * 64))  # fmt: skip
    with pytest.raises(InputError, match="would both be m: name them") as caught:
        jaxmap.push(made, REPO, local=True, card=False)
    assert caught.value.field == "names"
    assert hub.datasets == {}
    pushed = jaxmap.push(made, REPO, local=True, names=["./b/m=org/m2"], card=False)
    assert pushed.models == ("m", "org/m2")


def test_files_of_the_hub_without_a_commit_are_public_if_one_says_so(hub, tmp_path):
    """An adapter or a GGUF has a hash of its own, as folders have."""
    made, _ = filled(
        tmp_path / "s", TEXTS, record(TEXTS, "org/gguf/m.gguf", commit="sha256:" + "1" * 64)
    )
    with pytest.raises(InputError, match="has no public name"):
        jaxmap.push(made, REPO, card=False)
    assert jaxmap.push(made, REPO, names="org/*", card=False).models == ("org/gguf/m.gguf",)


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


def pulled_store(tmp_path) -> Store:
    jaxmap.pull(tmp_path / "theirs", REPO)
    return Store.open(tmp_path / "theirs")


def test_an_interrupted_push_resumes(hub, store, monkeypatch):
    monkeypatch.setattr("jaxmap.sharing.push._FILES", 3)
    hub.before["commit"] = [lambda: None, lambda: hub.faults.update(commit=[403])]
    with pytest.raises(InputError, match="does not let you write it; set HF_TOKEN"):
        jaxmap.push(store, REPO)
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


def test_a_damaged_file_of_the_store_is_replaced(hub, store, tmp_path):
    jaxmap.push(store, REPO, card=False)
    theirs = pulled_store(tmp_path)
    path = next(theirs.path.glob("records/org-b*"))
    path.write_bytes(path.read_bytes()[:-3])
    assert jaxmap.pull(theirs.path, REPO).added == (f"records/{path.name}",)
    assert len(Store.open(theirs.path).records()) == 5


def flipped(content: bytes) -> bytes:
    return content[:-1] + bytes([content[-1] ^ 1])


def rewritten(content: bytes, change) -> bytes:
    """A record with other facts, and with a checksum that fits them."""
    from jaxmap.store import record_files

    metadata, arrays = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")]), None
    facts = json.loads(metadata["__metadata__"]["jaxmap"])
    arrays = safetensors.numpy.load(content)
    change(facts, arrays)
    text = json.dumps(facts)
    crc = record_files._checksum(text, arrays, sorted(arrays))
    return safetensors.numpy.save(arrays, metadata={"jaxmap": text, "crc32": crc})


def set_fact(path: str, value):
    def change(facts, arrays):
        *folders, last = path.split(".")
        for one in folders:
            facts = facts[one]
        facts[last] = value

    return change


def set_array(name: str, value):
    def change(facts, arrays):
        arrays[name] = value(arrays[name])
        shape = list(arrays[name].shape)
        facts["arrays"][name] |= {"dtype": arrays[name].dtype.name, "shape": shape}

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (flipped, "checksum"),
        (lambda c: c[:100], "not a whole safetensors file"),
        (lambda c: b"\x80\x04K\x01.", "not a whole safetensors file"),
        (lambda c: b"", "not a whole safetensors file"),
        (set_fact("identity.texts", "f" * 64), "scored on other texts"),
        (set_fact("identity.ref", "/etc/passwd"), "no public name"),
        (set_fact("identity.ref", "../../x"), "no public name"),
        (set_fact("identity.ref", "<script>alert(1)</script>"), "no public name"),
        (set_fact("identity.ref", "org/other"), "its name is not that of its contents"),
        (set_fact("identity.revision", "a | b"), "is no revision"),
        (set_fact("identity.dtype", "float8"), "dtype or quantisation is unknown"),
        (set_fact("identity.layer", -1), "its layer is -1"),
        (set_fact("identity.layer", "1"), "its layer is of a wrong type"),
        (set_fact("provenance.device", "\x1b[31m"), "its device is no line of text"),
        (set_fact("provenance.num_layers", "12"), "its num_layers is of a wrong type"),
        (set_fact("provenance.model", {"num_parameters": "many"}), "its num_parameters is of a"),
        (set_fact("provenance.model", {"base": ["a\nb"]}), "its base is no line of text"),
        (set_fact("generation", 10**30), "its generation is 1"),
        (set_fact("format", 3), "its format is 3"),
        (set_array("log_likelihood", lambda a: a * np.nan), "NaN or infinite"),
        (set_array("log_likelihood", lambda a: a[:-1]), "has the shape"),
        (set_array("num_tokens", lambda a: a[None]), "has the shape"),
        (lambda c: rewritten(c, lambda f, a: (a.pop("num_tokens"), f["arrays"].pop("num_tokens"))),
         "without the numbers of tokens"),
    ],
)  # fmt: skip
def test_what_is_damaged_or_foreign_is_refused(shared_file, tmp_path, change, words):
    name, content = shared_file
    try:
        spoilt = change(content)
    except TypeError:
        spoilt = rewritten(content, change)
    path = tmp_path / "arrived"
    path.write_bytes(content)
    facts = TextFacts(TEXTS.fingerprint, "", TEXTS.num_bytes)
    assert arrived(path, name, facts)[0].identity.ref == "org/b"
    path.write_bytes(spoilt)
    with pytest.raises(NotSharedError, match=words):
        arrived(path, name, facts)


@pytest.fixture(scope="module")
def shared_file(tmp_path_factory) -> tuple[str, bytes]:
    """A good file, and its name."""
    made, [entry] = filled(tmp_path_factory.mktemp("shared"), TEXTS, hub_record("org/b", 1))
    names = PublicNames({})
    [file] = files_of(entry, public_identity(entry, names))
    return file.name, content_of(file, made, names)


def test_the_rest_arrives(hub, store, tmp_path):
    jaxmap.push(store, REPO, card=False)
    spoilt = [name for name in sorted(results(hub)) if "org-b" in name or "org-c" in name]
    shared(hub)[spoilt[0]] = flipped(shared(hub)[spoilt[0]])
    shared(hub)[spoilt[1]] = shared(hub)[spoilt[0]]
    pulled = jaxmap.pull(tmp_path / "theirs", REPO)
    assert list(pulled.refused) == spoilt
    assert len(pulled.added) == 5
    assert f"refused: {spoilt[0]}: its checksum does not fit its contents" in pulled.text()
    assert {path.name[:5] for path in (tmp_path / "theirs" / "records").iterdir()} == {"org-a"}


def test_strange_names_are_refused(hub, store, tmp_path):
    names = ["records/x.safetensors", "records/a/b-0123456789abcdef.safetensors",
             "records/.a-0123456789abcdef.safetensors", "token_arrays/x.pkl"]  # fmt: skip
    jaxmap.push(store, REPO, card=False)
    some = next(content for name, content in shared(hub).items() if "org-b" in name)
    shared(hub).update(dict.fromkeys(names, some))
    pulled = jaxmap.pull(tmp_path / "theirs", REPO)
    assert pulled.refused == dict.fromkeys(names, "no result is called so")
    assert len(pulled.added) == 7


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


def test_the_card_shows_the_map_and_keeps_what_people_write(hub, store):
    jaxmap.push(store, REPO)
    card = shared(hub)["README.md"].decode()
    assert card.startswith("---\npretty_name: maps\n")
    assert "![a map of the models](map.png)" in card
    assert shared(hub)["map.png"].startswith(b"\x89PNG")
    assert "Log-likelihoods of 50 texts under 3 models (3 checkpoints, 5 results)" in card
    assert "| org/a | 3 | 1,000 |" in card
    kl = {frozenset(row[:2]): row[2] for row in jaxmap.kl(store).to_dataframe().values.tolist()}
    others = {name: kl[frozenset(("org/b", name))] for name in ("org/a", "org/c")}
    nearest = min(others, key=others.get)
    row = next(line for line in card.splitlines() if line.startswith("| org/b |"))
    assert row.split(" | ")[4:][0] == nearest
    assert f"{others[nearest]:.0f} ± " in row

    made = card[card.index("<!--") :]
    shared(hub)["README.md"] = f"---\nlicense: mit\n---\nOurs.\n{made}End.\n".encode()
    store.add(hub_record("org/d", 3))
    jaxmap.push(store, REPO)
    again = shared(hub)["README.md"].decode()
    assert again.startswith("---\nlicense: mit\n---\nOurs.\n<!-- made by")
    assert again.endswith("-->\nEnd.\n")
    assert again.count("Log-likelihoods of") == 1
    assert "| org/d |" in again


def test_two_models_have_a_card_without_a_picture(hub, tmp_path):
    made, _ = filled(tmp_path / "s", TEXTS, hub_record("org/a"), hub_record("org/b", 1))
    jaxmap.push(made, REPO)
    assert "map.png" not in shared(hub)
    assert "A map takes at least three models." in shared(hub)["README.md"].decode()


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


def test_a_damaged_text_file_is_one_line(hub, store, tmp_path):
    jaxmap.push(store, REPO, card=False)
    start = b'{"format": 2, "fingerprint": "x", "source": "y"'
    for content in (b"", b"[]", b'{"format": 2}', start + b', "text_bytes": [[1]]}'):
        shared(hub)["store.json"] = content
        with pytest.raises(InputError, match=r"its store\.json is damaged"):
            jaxmap.pull(tmp_path / "theirs", REPO)


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


def test_requests_and_failures_stay_here(hub, store):
    store.ask([Item("org/z")], "jaxmap score --store=/home/alice")
    jaxmap.push(store, REPO)
    assert {name.split("/")[0] for name in shared(hub)} == {
        ".gitattributes", "README.md", "map.png", "records", "store.json", "token_arrays",
    }  # fmt: skip

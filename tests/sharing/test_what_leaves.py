"""What of a store leaves this machine: results under public names, and a card."""

from __future__ import annotations

import json

import pytest
from support.shared_stores import HERE, REPO, TEXTS, hub_record, shared
from support.stores import filled, record

import jaxmap
from jaxmap.errors import InputError
from jaxmap.store import Item, Store

# Of the Hub's client, about its own HTTP client.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


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


def test_requests_and_failures_stay_here(hub, store):
    store.ask([Item("org/z")], "jaxmap score --store=/home/alice")
    jaxmap.push(store, REPO)
    assert {name.split("/")[0] for name in shared(hub)} == {
        ".gitattributes", "README.md", "map.png", "records", "store.json", "token_arrays",
    }  # fmt: skip

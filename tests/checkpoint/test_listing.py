"""Which checkpoints there are: on the Hub, in Git clones, in folders; and subfolders of the Hub."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest
from support.checkpoints import make_checkpoint, score, write_texts
from support.hubs import Fake, fake_of, serve

from jaxmap.api.scoring import sweep
from jaxmap.api.stores import status
from jaxmap.checkpoint.listing import find, read_models_file
from jaxmap.checkpoint.refs import Ref, is_folder, parse_refs
from jaxmap.checkpoint.sources.files import fetch, resolve
from jaxmap.checkpoint.sources.hub import Hub
from jaxmap.checkpoint.sources.retry import Retry
from jaxmap.cli.program import run
from jaxmap.errors import InputError, JaxmapError
from jaxmap.store import Store

REVISIONS = [
    "main", "stage2-ingredient1-step10-tokens1B", "stage1-step1000-tokens4B",
    "stage1-step200-tokens1B", "stage2-ingredient1-step2-tokens1B", "v1.0",
]  # fmt: skip


@pytest.fixture
def fake(tmp_path) -> Fake:
    """A repository with branches, tags, and two checkpoints in folders of main."""
    top = make_checkpoint(tmp_path / "top", seed=1)
    for seed, name in enumerate(("ckpt/step5", "ckpt/step10"), 2):
        make_checkpoint(top / name, seed=seed)
    other = make_checkpoint(tmp_path / "other", seed=9)
    made = fake_of({name: top if name == "main" else other for name in REVISIONS})
    made.tags = {"v1.0", "stage1-step1000-tokens4B"}
    made.models = ["org/tiny", "org/tiny-10m", "org/tiny-2m", "org/big-7b"]
    return made


@pytest.fixture
def hub(fake, tmp_path, monkeypatch):
    """The Hub is the fake one, for all that names none; returns how to go offline."""
    import huggingface_hub

    def play(**options: object) -> None:
        retry = Retry(tries=2, sleep=lambda seconds: None)
        known = {"endpoint": address, "cache": tmp_path / "cache", "retry": retry, **options}
        monkeypatch.setattr("jaxmap.checkpoint.sources.hub.Hub", lambda: Hub(**known))

    with serve(fake) as address:
        play(offline=False)
        yield play
        huggingface_hub.close_session()


def found(spec: str) -> list[str]:
    return [str(ref) for ref in find(parse_refs(spec))]


def refused(spec: str) -> str:
    with pytest.raises(InputError) as caught:
        find(parse_refs(spec))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_branches_and_tags(hub, fake):
    assert found("org/tiny@*") == [
        "org/tiny@main", "org/tiny@v1.0",
        "org/tiny@stage1-step200-tokens1B", "org/tiny@stage1-step1000-tokens4B",
        "org/tiny@stage2-ingredient1-step2-tokens1B",
        "org/tiny@stage2-ingredient1-step10-tokens1B",
    ]  # fmt: skip
    assert found("org/tiny@stage1-*,org/tiny@{main,stage1-step200-*}") == [
        "org/tiny@stage1-step200-tokens1B", "org/tiny@stage1-step1000-tokens4B", "org/tiny@main",
    ]  # fmt: skip
    message = refused("org/tiny@stage3-*")
    assert "org/tiny@stage3-*: matches no branch, tag or subfolder (nearest: stage" in message


def test_names_as_they_are_cost_no_request(hub, fake):
    spec = "org/tiny@{main,step7,step8},org/other,org/tiny@" + "0" * 40
    assert len(found(spec)) == 5
    assert fake.asked == {}


def test_a_range_that_is_not_there(hub, fake):
    message = refused("org/tiny@{v1.0,main},org/tiny@step{0:1000:1}")
    assert message.startswith("models: org/tiny: 1000 of the 1002 revisions named are not there")
    assert "(step0, step1, step2, ...; nearest: " in message
    assert message.endswith("org/tiny@* names those that are")
    assert fake.asked == {"GET refs": 1}
    assert len(found("org/tiny@{main,v1.0,step1,step2}")) == 4  # few: each fails by itself


def test_repositories_of_an_organisation(hub):
    assert found("org/tiny-*@step1") == ["org/tiny-2m@step1", "org/tiny-10m@step1"]
    assert found("org/*b") == ["org/big-7b"]
    assert "matches no repository (nearest: org/tiny" in refused("org/tinny-*")
    assert "repositories of one organisation" in refused("*/tiny")


def test_subfolders_of_a_repository(hub, fake, tmp_path):
    ref = Ref("org/tiny/ckpt/step5")
    assert not is_folder(ref.name)
    assert (ref.repository, ref.subfolder) == ("org/tiny", "ckpt/step5")
    resolved = resolve(ref)
    assert resolved.commit == fake.branches["main"]
    files = fetch(resolved)
    there = tmp_path / "top" / "ckpt" / "step5"
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        assert (files.folder / name).read_bytes() == (there / name).read_bytes()
    downloads = [name for name in fake.asked if name not in ("GET info", "GET refs")]
    assert {name.partition(" ")[2].rpartition("/")[0] for name in downloads} == {"ckpt/step5"}
    assert fetch(resolve(ref)) == files
    with pytest.raises(InputError, match=r"no folder 'ckpt/step6' \(nearest: ckpt/step5") as caught:
        resolve(Ref("org/tiny/ckpt/step6"))
    assert "\n" not in str(caught.value)


def test_a_subfolder_takes_the_tokenizer_at_the_top(tmp_path, monkeypatch):
    """Of a repository that holds many checkpoints and one tokenizer."""
    import huggingface_hub

    top = make_checkpoint(tmp_path / "top", seed=1)
    own = make_checkpoint(top / "own" / "step1", seed=2)
    make_checkpoint(top / "ckpt" / "step1", seed=3)
    for seed, step in enumerate((1, 2), 3):
        folder = make_checkpoint(top / "ckpt" / f"step{step}", seed=seed)
        for path in folder.glob("tokenizer*"):
            path.unlink()
    (own / "tokenizer.json").write_text((own / "tokenizer.json").read_text() + " ")
    made = fake_of({"main": top})
    with serve(made) as address:
        known = {"endpoint": address, "cache": tmp_path / "cache"}
        play = lambda **more: monkeypatch.setattr(  # noqa: E731
            "jaxmap.checkpoint.sources.hub.Hub", lambda: Hub(**known, **more)
        )
        play(offline=False)
        shared = fetch(resolve(Ref("org/tiny/ckpt/step1")))
        assert {file.name for file in shared.files} >= {"tokenizer.json", "model.safetensors"}
        tokenizer = shared.folder / "tokenizer.json"
        assert tokenizer.read_bytes() == (top / "tokenizer.json").read_bytes()
        assert (fetch(resolve(Ref("org/tiny/own/step1"))).folder / "tokenizer.json").read_bytes() \
            == (own / "tokenizer.json").read_bytes()  # fmt: skip
        assert made.asked["GET tokenizer.json"] == 1
        config = {
            "models": ["org/tiny/ckpt/step{1,2}", "org/tiny@ma*"],
            "texts": str(write_texts(tmp_path / "texts.jsonl")),
            "weight_distance": 1,
        }
        found = sweep(config, tmp_path / "store")
        found.raise_for_failures()
        assert made.asked["GET tokenizer.json"] == 1
        play(offline=True)
        assert fetch(resolve(Ref("org/tiny/ckpt/step1"))).files == shared.files
        huggingface_hub.close_session()
    store = Store.open(tmp_path / "store")
    assert [entry.label for entry in store.records()] == [
        "org/tiny@main", "org/tiny/ckpt/step1", "org/tiny/ckpt/step2",
    ]  # fmt: skip
    local = tmp_path / "local"
    shutil.copytree(top / "ckpt" / "step1", local)
    for path in top.glob("tokenizer*"):
        shutil.copy(path, local)
    assert score(tmp_path / "local-store", tmp_path / "texts.jsonl", str(local)).code == 0
    by_hand = Store.open(tmp_path / "local-store")
    np.testing.assert_array_equal(
        by_hand.log_likelihoods(by_hand.records())[0], store.log_likelihoods(store.records())[1]
    )


def test_listings_are_kept_with_the_store(hub, fake, tmp_path, capsys):
    texts = write_texts(tmp_path / "texts.jsonl")
    path = tmp_path / "store"
    sweep({"models": "org/tiny@stage1-*", "texts": str(texts)}, path).raise_for_failures()
    assert fake.asked["GET refs"] == 1
    [line] = status(path).not_asked
    assert line.startswith(
        "org/tiny: 2 of 4 checkpoints (stage2-ingredient1-step2-tokens1B, stage2-ingredient1-step10"
    )
    assert fake.asked["GET refs"] == 1
    fake.branches["stage2-ingredient1-step30-tokens2B"] = fake.branches["main"]
    assert status(path).not_asked == [line]
    [line] = status(path, hub=True).not_asked
    assert line.startswith("org/tiny: 3 of 5 checkpoints (")
    assert fake.asked["GET refs"] == 2
    assert cli_status(path, capsys).count("org/tiny: 3 of 5") == 1
    # Where the network fails, what was listed stands.
    fake.plans["GET refs"] = [(503, {})] * 9
    found = sweep({"models": "org/tiny@stage2-*", "texts": str(texts)}, path)
    found.raise_for_failures()
    assert "the store's listing is used" in capsys.readouterr().err
    assert status(path).not_asked == []
    fake.plans["GET refs"] = [(503, {})] * 9
    with pytest.raises(JaxmapError):
        sweep({"models": "org/tiny@*", "texts": str(texts)}, tmp_path / "other")


def cli_status(path, capsys) -> str:
    assert run(["status", f"--store={path}"]) == 0
    return capsys.readouterr().out


def test_subfolders_offline(hub):
    files = fetch(resolve(Ref("org/tiny/ckpt/step10")))
    hub(offline=True)
    assert fetch(resolve(Ref("org/tiny/ckpt/step10"))) == files
    assert found("org/tiny@*") == ["org/tiny@main"]
    assert "offline" in refused("org/*")


def test_folders(tmp_path):
    for name in ("step2", "step10", "main run", "stage2/step1", ".hidden", "logs"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / ("notes.txt" if name == "logs" else "config.json")).touch()
    assert [name.partition("@")[2] for name in found(f"{tmp_path}@*")] == [
        "main run", "step2", "step10", "stage2/step1",
    ]  # fmt: skip
    assert found(f"{tmp_path}@step?") == [f"{tmp_path}@step2"]
    message = refused(f"{tmp_path}@step{{2:9}}")
    assert "6 of the 7 revisions named are not there (step3, step4, step5, ...; " in message
    assert "nearest: step2, step10" in message
    (tmp_path / "a[1]").mkdir()
    assert found(f"{tmp_path}@a[1]") == [f"{tmp_path}@a[1]"]
    assert "no such folder" in refused(f"{tmp_path}/none@*")


def test_git_clones(tmp_path):
    def git(*arguments: str) -> None:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@t"]
        subprocess.run([*command, *arguments], check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    (tmp_path / "config.json").touch()
    git("add", "-A")
    git("commit", "-q", "-m", "one")
    for name in ("step2", "stage1/step10"):
        git("branch", name)
    git("tag", "step1")
    assert [name.partition("@")[2] for name in found(f"{tmp_path}@*")] == [
        "main", "step1", "step2", "stage1/step10",
    ]  # fmt: skip
    assert found(f"{tmp_path}@step*") == [f"{tmp_path}@step1", f"{tmp_path}@step2"]


@pytest.mark.parametrize("suffix", [".txt", ".json"])
def test_a_file_of_references(suffix, tmp_path):
    names = ["org/a@step{1,2}", "org/b", "org/a@step2"]
    path = tmp_path / f"models{suffix}"
    lines = ["# the runs", "", *names[:2], f"{names[2]}  # again"]
    path.write_text(json.dumps(names) if suffix == ".json" else "\n".join(lines))
    assert [*map(str, read_models_file(path))] == ["org/a@step1", "org/a@step2", "org/b"]
    assert [*map(str, read_models_file(path, first=1))] == ["org/a@step1", "org/a@step2"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "{", "not JSON"),
        ("a.json", '["a", 1]', "not a list of names"),
        ("a.txt", "# nothing\n", "names no model"),
        ("none.txt", None, "cannot be read"),
    ],
)
def test_bad_files_of_references(name, content, words, tmp_path):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words) as caught:
        read_models_file(tmp_path / name)
    assert caught.value.field == "models_file"


def test_scoring_walks_stages_tags_and_subfolders(hub, tmp_path):
    texts = write_texts(tmp_path / "texts.jsonl")
    listed = tmp_path / "models.txt"
    listed.write_text("org/tiny/ckpt/step{5,10}  # folders of main\norg/tiny@stage2-*\n")
    ran = score(tmp_path / "store", texts, "org/tiny@stage1-*", models_file=listed,
                weight_distance=1)  # fmt: skip
    assert (ran.code, ran.out) == (0, "6 scored, 0 already done, 0 failed\n")
    store = Store.open(tmp_path / "store")
    runs = {entry.name.run_name for entry in store.records()}
    assert runs == {"org/tiny/ckpt", "org/tiny@stage1", "org/tiny@stage2-ingredient1"}
    subfolders = [e for e in store.records() if e.identity.ref.startswith("org/tiny/ckpt")]
    first, second = store.log_likelihoods(subfolders)
    assert first[0] != second[0]  # two folders of one commit are two checkpoints
    here = score(tmp_path / "here", texts, tmp_path / "top" / "ckpt" / "step5")
    assert here.code == 0
    (local,) = Store.open(tmp_path / "here").log_likelihoods(
        Store.open(tmp_path / "here").records()
    )
    assert (local == first).all()

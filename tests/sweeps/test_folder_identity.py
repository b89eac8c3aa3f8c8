"""One folder is one model, however its path is written."""

from __future__ import annotations

import json
import os

import pytest
from support.checkpoints import jaxmap, make_checkpoint, score, write_texts
from support.stores import texts

import jaxmap as package
from jaxmap.checkpoint.refs import Ref
from jaxmap.errors import InputError
from jaxmap.store import Store
from jaxmap.sweeps.folder_identity import as_known


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "models" / "step1").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_way_of_writing_it_is_kept(here):
    store = Store.create(here / "store", texts())
    names = ["./models", "models", f"{here}/models", "models/../models", "link"]
    assert as_known([Ref(name) for name in names], store) == [Ref("./models")]
    assert as_known([Ref(name) for name in reversed(names)], store) == [Ref("link")]


def test_a_subfolder_is_itself(here):
    store = Store.create(here / "store", texts())
    refs = [Ref("models", "step1"), Ref("models/step1"), Ref("./models", "step1"), Ref("models")]
    assert as_known(refs, store) == [Ref("models", "step1"), Ref("models")]


def test_models_of_the_hub_and_revisions_stay_apart(here):
    store = Store.create(here / "store", texts())
    refs = [Ref("org/name"), Ref("org/name", "step1"), Ref("models", "main"), Ref("models")]
    assert as_known([*refs, refs[0]], store) == refs


def test_another_run_finds_it_done(here):
    make_checkpoint(here / "base")
    file = write_texts(here / "texts.jsonl")
    assert score(here / "runs", file, "./base").code == 0
    again = score(here / "runs", file, f"{here}/base")
    assert again.code == 0
    assert "already" in again.out or "already" in again.err
    os.symlink("base", here / "alias")
    assert score(here / "runs", file, "alias", "base").code == 0
    out = here / "all.npz"
    assert jaxmap("export", f"--store={here / 'runs'}", f"--out={out}").code == 0
    assert [entry.label for entry in package.open_store(here / "runs").records()] == ["./base"]


def test_a_folder_of_other_things_is_no_store(here):
    make_checkpoint(here / "base")
    file = write_texts(here / "texts.jsonl")
    before = sorted(path.name for path in (here / "base").iterdir())
    ran = score(here / "base", file, "base")
    assert ran.code == 2
    assert "holds other things (config.json, model.safetensors, tokenizer.json) and no" in ran.err
    assert sorted(path.name for path in (here / "base").iterdir()) == before
    with pytest.raises(InputError, match="name a new or empty folder"):
        package.score("base", file, "base")
    (here / "empty").mkdir()
    assert score(here / "empty", file, "base").code == 0
    assert json.loads((here / "empty" / "store.json").read_text())

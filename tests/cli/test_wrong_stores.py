"""A store where none is or can be: one line from every command, and nothing is changed."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.checkpoints import write_texts

from jaxmap.cli.program import COMMANDS, define, run
from jaxmap.errors import InputError

MADE = {"score", "sweep", "floor", "compare", "pull", "import"}  # these make a store
WITH_FOLDER = ("card", "tokens", "scale", "diffusion", "dynamics", "map")
MORE = {
    "score": ["--texts=T", "--models=M"],
    "sweep": ["--config=C"],
    "floor": ["--texts=T", "--models=M"],
    "compare": ["--texts=T", "--models=M", "--reference=M", "--out=X/out"],
    "pull": ["--repo=org/name"],
    "push": ["--repo=org/name"],
    "import": ["--released=X/released"],
    "export": ["--out=X/out.npz"],
    "kl": ["--out=X/out.csv"],
    "forget": ["--models=M"],
    "resample": ["--texts=T", "--out=X/out.jsonl", "--n=2"],
    "place": ["--texts=T", "--out=X/out"],
    "report": ["--out=X/out.html"],
    **{name: ["--out=X/out"] for name in WITH_FOLDER},
}
WITH_STORE = sorted(name for name in COMMANDS if "store" in define(name))


@pytest.fixture
def no_network(monkeypatch):
    def asked(*_, **__):
        raise AssertionError("the network was asked before the store was looked at")

    monkeypatch.setattr("jaxmap.checkpoint.sources.hub.listing", asked)
    monkeypatch.setattr("jaxmap.sharing.repository.Repository.contents", asked)
    monkeypatch.setattr("jaxmap.runtime.prepare", asked)


def contents(folder: Path) -> dict[Path, bytes | None]:
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.parametrize("command", WITH_STORE)
def test_a_store_that_is_none(command, tmp_path, no_network):
    (tmp_path / "file").write_text("precious")
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    texts = write_texts(tmp_path / "texts.jsonl")
    config = tmp_path / "config.py"
    config.write_text(
        "from ml_collections import ConfigDict\n"
        f"def get_config(): return ConfigDict(dict(models='{model}', texts='{texts}'))\n"
    )
    (tmp_path / "released").mkdir()
    before = contents(tmp_path)
    stores = {
        "a file": tmp_path / "file",
        "under a file": tmp_path / "file" / "store",
        "a model": model,
        "nowhere": Path("/proc/nowhere/store") if command in MADE else tmp_path / "none",
    }
    words = {"T": str(texts), "M": str(model), "C": str(config)}
    more = [
        f"{flag}={words.get(value, value.replace('X/', f'{tmp_path}/'))}"
        for flag, value in (one.split("=", 1) for one in MORE.get(command, []))
    ]
    if command == "place":
        more.append(f"--new={model}")
    for what, store in stores.items():
        with pytest.raises(InputError) as caught:
            run([command, f"--store={store}", *more])
        line = str(caught.value)
        assert "\n" not in line, what
        assert str(store) in line or str(store.parent) in line, (what, line)
        assert contents(tmp_path) == before, what


def test_every_command_with_a_store_is_here():
    assert set(MORE) | {"status"} == set(WITH_STORE)
    assert set(WITH_STORE) >= MADE

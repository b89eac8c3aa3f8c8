"""Outputs that cannot be written: one line from every command, and what was there stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.full_disks import largest_file
from support.maps import map_store
from support.stores import FakeTexts, filled, record

from jaxmap.cli.program import COMMANDS, define, run
from jaxmap.corpus.texts import TextSet, load_texts, save_texts
from jaxmap.errors import InputError, JaxmapError
from jaxmap.store import Store

# Commands with files or folders that they write, and the ending of a file ("" for a folder).
FILES = {
    "kl": ".csv", "export": ".npz", "report": ".html", "resample": ".jsonl", "floor": ".csv",
    "verify": ".csv", "plan": ".jsonl", "bench": ".json", "texts": ".jsonl",
}  # fmt: skip
FOLDERS = {
    "scale", "diffusion", "dynamics", "map", "place", "compare", "card", "tokens", "lens",
    "reproduce", "demo", "pmi",
}  # fmt: skip
MORE = {
    "resample": ["--n=12"],
    "place": ["--new=STORES/new"],
    "pmi": ["--conditional=STORES/c", "--unconditional=STORES/u"],
    "verify": ["--models=org/x"],
    "floor": ["--models=org/x"],
    "lens": ["--models=org/x"],
    "compare": ["--models=org/x", "--reference=org/y"],
    "plan": ["--model=org/x", "--mesh=data=1"],
    "texts": ["--source=stdlib"],
    "reproduce": ["--released=STORES"],
}


@pytest.fixture(scope="module")
def stores(tmp_path_factory) -> Path:
    """Stores for all commands: a map, a whole and few texts, prompts and responses."""
    folder = tmp_path_factory.mktemp("stores")
    map_store(folder / "map")
    whole = TextSet(tuple(f"{n} ".ljust(30 + n % 9, "x") for n in range(90)), None, "whole.jsonl")
    save_texts(folder / "whole.jsonl", [{"text": text} for text in whole.texts])
    filled(folder / "whole", whole, *(record(whole, f"m{k}") for k in range(4)))
    arguments = [f"--store={folder}/whole", f"--texts={folder}/whole.jsonl", "--n=40"]
    run(["resample", *arguments, f"--out={folder}/few.jsonl"])
    few = load_texts(folder / "few.jsonl")
    filled(folder / "new", few, record(few, "new"))
    for name, letter in (("c", "a"), ("u", "b")):
        texts = FakeTexts(letter * 64, np.arange(5, 45))
        filled(folder / name, texts, *(record(texts, f"org/m{k}") for k in range(4)))
    return folder


def arguments_of(command: str, stores: Path) -> list[str]:
    """All that a command needs but the output."""
    store, texts = "map", "whole.jsonl"
    if command in ("resample", "place", "floor"):
        store, texts = "whole", "few.jsonl" if command == "place" else texts
    more = [one.replace("STORES", str(stores)) for one in MORE.get(command, [])]
    flags = define(command)
    needs_texts = "texts" in flags and command not in ("dynamics", "tokens")
    return [
        command,
        *([f"--store={stores}/{store}"] if "store" in flags else []),
        *([f"--texts={stores}/{texts}"] if needs_texts else []),
        *more,
    ]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_command_with_an_output_is_here():
    outputs = {name for name in COMMANDS if "out" in define(name)}
    assert outputs == set(FILES) | FOLDERS


@pytest.fixture
def no_work(monkeypatch):
    """Whoever reads a store's results or a model before looking at the output fails."""

    def work(*_, **__):
        raise AssertionError("work was done before the output was looked at")

    for name in ("entries", "records", "arranged", "log_likelihoods"):
        monkeypatch.setattr(Store, name, work)
    monkeypatch.setattr("jaxmap.checkpoint.sources.hub.listing", work)
    monkeypatch.setattr("jaxmap.runtime.prepare", work)


@pytest.mark.parametrize("command", [*FILES, *sorted(FOLDERS)])
def test_a_place_where_nothing_can_be_is_refused_before_any_work(
    command, stores, tmp_path, no_work
):
    ending = FILES.get(command, "")
    (tmp_path / "file").write_text("x")
    (tmp_path / f"folder{ending}").mkdir()
    wrong = tmp_path / (f"folder{ending}" if ending else "file")
    under = tmp_path / "file" / f"x{ending}"
    for out in (wrong, under, Path(f"/proc/nowhere/x{ending}")):
        with pytest.raises(InputError) as caught:
            run([*arguments_of(command, stores), f"--out={out}"])
        line = str(caught.value)
        assert "\n" not in line
        assert any(str(one) in line for one in (out, out.parent))
    assert (tmp_path / "file").read_text() == "x"
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("command", FILES)
def test_a_wrong_ending_is_refused_before_any_work(command, stores, tmp_path, no_work):
    wrong = ".csv" if FILES[command] != ".csv" else ".json"
    if command == "export":
        wrong = ".xlsx"
    for name in (f"x{wrong}", "x"):
        with pytest.raises(InputError, match=r"\.[a-z]+") as caught:
            run([*arguments_of(command, stores), f"--out={tmp_path}/{name}"])
        assert f"{tmp_path}/{name}" in str(caught.value)
        assert FILES[command] in str(caught.value)
    assert list(tmp_path.iterdir()) == []


SLOW = {"map", "diffusion", "dynamics", "report", "place"}
WRITTEN = {
    "export": ("--out=X/x.npz", "--out=X/x.csv", "--out=X/x.nc", "--released=X/r"),
    "kl": ("--out=X/x.csv", "--out=X/x.npy", "--out=X/x.csv --pairs=consecutive"),
    **{name: (f"--out=X/x{FILES.get(name, '')}",) for name in ("resample", "scale", *SLOW)},
}


@pytest.mark.parametrize(
    "command",
    [pytest.param(one, marks=[pytest.mark.slow] * (one in SLOW)) for one in sorted(WRITTEN)],
)
def test_a_full_disk(command, stores, tmp_path, capsys):
    for n, flags in enumerate(WRITTEN[command]):
        folder = tmp_path / str(n)
        line = [*arguments_of(command, stores), *flags.replace("X", str(folder)).split()]
        assert run(line) == 0
        before = contents(folder)
        for size in (0, 100):
            with largest_file(size), pytest.raises(JaxmapError) as caught:
                run(line)
            assert "\n" not in str(caught.value)
            assert str(folder) in str(caught.value)
            assert contents(folder) == before


def test_a_full_disk_leaves_a_store_that_opens(stores, tmp_path, capsys):
    line = [*arguments_of("pmi", stores), f"--out={tmp_path}/pmi"]
    with largest_file(700), pytest.raises(JaxmapError, match="ulimit -f"):
        run(line)
    assert Store.open(tmp_path / "pmi").records() == []
    assert run(line) == 0
    assert len(Store.open(tmp_path / "pmi").records()) == 4

"""Each command after the store, from Python and from the shell, on the same store."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support.checkpoints import GPT2, caches, make_checkpoint, write_texts
from support.checkpoints import jaxmap as shell
from support.maps import map_store
from support.stores import filled, record, texts

import jaxmap
from jaxmap.results import Result

WORDS = [f"Text number {n} says {'much ' * (n % 5)}about {n * n}." for n in range(40)]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return map_store(tmp_path_factory.mktemp("map") / "store").path


def tables(folder: Path) -> dict[str, bytes]:
    """What a folder holds: the bytes of tables, and that figures are there."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.suffix == ".csv" else b""
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two training runs alone, whose maps are few."""
    return map_store(tmp_path_factory.mktemp("runs") / "store", models=False).path


@pytest.mark.parametrize(
    ("command", "function", "options"),
    [
        ("scale", "scale", {"warmup_steps": 1000}),
        ("diffusion", "diffusion", {"start_from": 1, "window": 3}),
        ("map", "make_map", {}),
    ],
)
def test_what_a_folder_gets(store, runs, tmp_path, command, function, options):
    store = runs if command == "map" else store
    flags = [f"--{name}={value}" for name, value in options.items()]
    ran = shell(command, f"--store={store}", f"--out={tmp_path}/shell", *flags)
    assert ran.code == 0, ran
    found = getattr(jaxmap, function)(store, out=tmp_path / "python", **options)
    if command == "scale":
        assert ran.out.startswith(found.text())
    assert tables(tmp_path / "python") == tables(tmp_path / "shell")
    drawn = {Path(name).stem for name in tables(tmp_path / "python") if name.endswith(".png")}
    assert set(found.draw()) == drawn
    shows(found)


def shows(result: Result) -> None:
    assert len(result.to_dataframe())
    assert result._repr_html_()


@pytest.mark.parametrize("pairs", ["all", "consecutive", "lab/m0:lab/m1"])
def test_kl(store, tmp_path, pairs):
    assert shell("kl", f"--store={store}", f"--out={tmp_path}/kl.csv", f"--pairs={pairs}").code == 0
    found = jaxmap.kl(store, pairs=pairs, out=tmp_path / "out.csv")
    [path] = found.save(tmp_path / "python")
    assert path.read_bytes() == (tmp_path / "kl.csv").read_bytes()
    assert (tmp_path / "out.csv").read_bytes() == (tmp_path / "kl.csv").read_bytes()
    assert list(found.to_dataframe().columns) == [
        "model_a", "model_b", "kl_bits_per_byte", "standard_error",
    ]  # fmt: skip
    shows(found)


def test_report(store, tmp_path):
    assert shell("report", f"--store={store}", f"--out={tmp_path}/shell.html").code == 0
    page = jaxmap.report(store, out=tmp_path / "out.html")
    [path] = page.save(tmp_path / "python")
    pages = [
        re.sub(r'id="[^"]*"|#[\w-]+|<!--.*?-->', "", file.read_text())
        for file in (path, tmp_path / "shell.html", tmp_path / "out.html")
    ]
    assert pages[0].count("<section") == pages[1].count("<section") == pages[2].count("<section")
    assert len(pages[0]) == pytest.approx(len(pages[1]), rel=0.01)
    assert page.draw()


def test_fewer_texts_and_a_place(tmp_path):
    for n in range(4):
        make_checkpoint(tmp_path / f"m{n}", GPT2, seed=n)
    file = write_texts(tmp_path / "texts.jsonl", WORDS)
    models = [tmp_path / f"m{n}" for n in range(3)]
    jaxmap.score(models, file, tmp_path / "map").raise_for_failures()
    ran = shell(
        "resample", f"--store={tmp_path}/map", f"--texts={file}", f"--out={tmp_path}/few.jsonl",
        "--n=10",
    )  # fmt: skip
    chosen = jaxmap.resample(tmp_path / "map", WORDS, 10, out=tmp_path / "again.jsonl")
    assert ran.code == 0, ran
    assert (tmp_path / "few.jsonl").read_bytes() == (tmp_path / "again.jsonl").read_bytes()
    shows(chosen)
    jaxmap.score(tmp_path / "m3", chosen, tmp_path / "new").raise_for_failures()
    ran = shell(
        "place", f"--store={tmp_path}/map", f"--texts={tmp_path}/few.jsonl",
        f"--new={tmp_path}/new", f"--out={tmp_path}/shell",
    )  # fmt: skip
    for given in (chosen, tmp_path / "few.jsonl"):
        placing = jaxmap.place(tmp_path / "map", given, tmp_path / "new")
        assert placing.text() == ran.out
    placing.save(tmp_path / "python")
    assert tables(tmp_path / "python") == tables(tmp_path / "shell")
    shows(placing)


def test_pmi(tmp_path):
    of, alone = texts(name="pairs"), texts(name="alone")
    filled(tmp_path / "given", of, record(of, "org/a"), record(of, "org/b"))
    filled(tmp_path / "alone", alone, record(alone, "org/a"), record(alone, "org/b"))
    ran = shell(
        "pmi", f"--conditional={tmp_path}/given", f"--unconditional={tmp_path}/alone",
        f"--out={tmp_path}/shell",
    )  # fmt: skip
    found = jaxmap.pmi(tmp_path / "given", tmp_path / "alone", tmp_path / "python")
    assert ran.out == f"2 models in {tmp_path}/shell, {found.added} of them new\n"
    one, other = (jaxmap.open_store(tmp_path / name).dataset() for name in ("shell", "python"))
    assert one.identical(other)


def test_forget(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", caches())
    of = texts()
    for name in ("shell", "python"):
        filled(tmp_path / name, of, record(of, "org/a"), record(of, "org/b"))
    ran = shell("forget", f"--store={tmp_path}/shell", "--models=org/a")
    found = jaxmap.forget(tmp_path / "python", models="org/a")
    assert ran.code == 0
    assert found.text() == ran.out.replace(f"{tmp_path}/shell", f"{tmp_path}/python")
    left = [jaxmap.open_store(tmp_path / name).records() for name in ("shell", "python")]
    assert [[one.label for one in entries] for entries in left] == [["org/b"], ["org/b"]]

"""A folder of files: what a look costs, and what it must notice."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from jaxmap.store.folder import SETTLED_S, Folder
from jaxmap.store.json_files import CorruptError


class Read:
    """Reads a file's text, and notes which files were read."""

    def __init__(self):
        self.names = []

    def __call__(self, path: Path) -> str:
        self.names.append(path.name)
        text = path.read_text()
        if text == "bad":
            raise CorruptError("bad")
        return text


@pytest.fixture
def read():
    return Read()


@pytest.fixture
def folder(tmp_path, read):
    for name, text in (("b", "1"), ("a", "2"), ("c", "bad")):
        (tmp_path / f"{name}.x").write_text(text)
    return Folder(tmp_path, ".x", read, group=len)


def age(path: Path, seconds: float = 2 * SETTLED_S) -> None:
    """Makes a folder's last change older."""
    stat = os.stat(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns - int(seconds * 1e9)))


def replace(path: Path, text: str) -> None:
    temp = path.with_name(".temp")
    temp.write_text(text)
    temp.rename(path)


@pytest.mark.parametrize("look", ["refresh", "update"])
def test_what_comes_goes_and_is_replaced(folder, read, look):
    look = getattr(folder, look)
    look()
    assert folder.values() == ["2", "1"]  # by name
    assert [path.name for path in folder.corrupt()] == ["c.x"]
    read.names.clear()
    (folder.path / "d.x").write_text("45")
    (folder.path / "b.x").unlink()
    replace(folder.path / "a.x", "3")
    replace(folder.path / "c.x", "6")
    look()
    assert sorted(read.names) == ["a.x", "c.x", "d.x"]
    assert folder.values() == ["3", "6", "45"]
    assert folder.group(1) == ["3", "6"]
    assert folder.group(2) == ["45"]
    assert folder.group(3) == []
    assert folder.corrupt() == {}


def test_a_folder_that_rests_is_not_read_again(folder, monkeypatch):
    folder.update()
    age(folder.path)
    folder.update()
    monkeypatch.setattr(os, "scandir", None)
    folder.update()
    assert folder.values() == ["2", "1"]
    monkeypatch.undo()
    (folder.path / "d.x").write_text("4")
    folder.update()
    assert folder.values() == ["2", "1", "4"]


def test_a_folder_that_changed_just_now_is_looked_at_again(folder):
    """Two changes within a tick of the clock have one time."""
    folder.update()
    stat = os.stat(folder.path)
    (folder.path / "d.x").write_text("4")
    os.utime(folder.path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    folder.update()
    assert folder.values() == ["2", "1", "4"]


def test_damage_in_place_is_seen_by_a_whole_look(folder):
    folder.update()
    with open(folder.path / "a.x", "w") as file:
        file.write("bad")
    folder.update()
    assert folder.values() == ["2", "1"]
    assert folder.refresh() == ["1"]
    assert len(folder.corrupt()) == 2


def test_what_was_damaged_is_read_again(folder):
    folder.update()
    with open(folder.path / "c.x", "w") as file:
        file.write("9")
    folder.update()
    assert folder.values() == ["2", "1", "9"]


def test_only_what_is_wanted_is_read(folder, read):
    folder.update("b.")
    assert sorted(read.names) == ["a.x", "b.x", "c.x"]  # the first look reads all
    read.names.clear()
    for name in ("ab", "bc", "cd"):
        (folder.path / f"{name}.x").write_text(name)
    folder.update("b")
    assert read.names == ["ab.x", "bc.x"]
    assert folder.group(2) == ["ab", "bc"]
    age(folder.path)
    folder.update("b")
    folder.update("c")  # in a folder that rests
    assert read.names == ["ab.x", "bc.x", "cd.x"]
    assert folder.group(2) == ["ab", "bc", "cd"]


@pytest.mark.parametrize("whole", ["refresh", "update"])
def test_what_was_not_wanted_is_read_by_a_whole_look(folder, whole):
    folder.update()
    (folder.path / "d.x").write_text("4")
    folder.update("e")
    assert folder.values() == ["2", "1"]
    getattr(folder, whole)()
    assert folder.values() == ["2", "1", "4"]


def test_a_file_that_was_renamed_is_read_whatever_is_wanted(folder):
    folder.update()
    (folder.path / "a.x").rename(folder.path / "other.x")
    folder.update("a")
    assert folder.values() == ["1", "2"]

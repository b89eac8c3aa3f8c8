"""Folders of the demo: built whole or not at all, used by one process."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.demos import documents, tiny
from support.full_disks import largest_file

from jaxmap.demos.folders import build_folder, sole_use
from jaxmap.demos.run import run_demo
from jaxmap.errors import InputError, JaxmapError


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="is a file"):
        run_demo(tmp_path / "file", tiny(), documents())
    assert (tmp_path / "file").read_text() == "mine"


def test_two_demos_in_one_folder_are_refused(tmp_path):
    with (
        sole_use(tmp_path),
        pytest.raises(InputError, match="another demo is running"),
        sole_use(tmp_path),
    ):
        pass
    with sole_use(tmp_path):  # and free again afterwards
        pass


def test_a_folder_that_fails_half_way_is_not_there(tmp_path):
    def fill(folder: Path) -> None:
        (folder / "first").write_text("1")
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        build_folder(tmp_path / "whole", fill)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [0, 5_000, 13_000])  # the first file, the tokenizer, the tokens
def test_a_full_disk_is_one_line_and_leaves_no_part(tmp_path, size):
    with (
        largest_file(size),
        pytest.raises(JaxmapError, match=r"cannot be written: .*ulimit -f") as caught,
    ):
        run_demo(tmp_path / "out", tiny(), documents())
    assert not isinstance(caught.value, InputError)
    assert str(tmp_path / "out") in str(caught.value)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left <= {".lock", "demo.json"}

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import tensorstore
import tokenizers
from support.full_disks import largest_file

from jaxmap.atomic import (
    append_line,
    check_writable,
    create_atomic,
    full_disk_errors,
    remove_stale_temps,
    temporary_folder,
    write_atomic,
)
from jaxmap.errors import InputError, JaxmapError


def temps(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


def test_writes_bytes_and_through_a_function(tmp_path):
    path = tmp_path / "new folder" / "naïve name.bin"
    write_atomic(path, b"one")
    assert path.read_bytes() == b"one"
    write_atomic(path, lambda file: file.write(b"two"))
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_writer_that_fails_leaves_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def writer(file):
        file.write(b"half")
        raise error

    with pytest.raises(type(error)):
        write_atomic(path, writer)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "no permission"),
        (errno.EDQUOT, "quota"),
    ],
)
@pytest.mark.parametrize("call", ["fsync", "replace", "link"])
def test_a_full_or_read_only_disk_is_one_line(tmp_path, monkeypatch, code, words, call):
    path = tmp_path / "file"
    write_atomic(path, b"old")

    def fails(*args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fails)
    write, path = (create_atomic, tmp_path / "file2") if call == "link" else (write_atomic, path)
    with pytest.raises(JaxmapError, match=words) as caught:
        write(path, b"new")
    full = code in (errno.ENOSPC, errno.EDQUOT)
    assert type(caught.value) is (JaxmapError if full else InputError)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_a_line_is_added_whole_or_not_at_all(tmp_path):
    path = tmp_path / "folder" / "lines"
    append_line(path, b"one")
    append_line(path, b"two")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for place in (path, tmp_path / "new"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            with pytest.raises(JaxmapError, match="ulimit") as caught:
                append_line(place, b"a long line")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert str(place) in str(caught.value)
    assert path.read_bytes() == b"one\ntwo\n"
    assert not (tmp_path / "new").exists()


def test_a_write_that_truly_fails(tmp_path):
    """The kernel refuses to write past a limit, in the middle of the content."""
    (tmp_path / "file").write_bytes(b"old")
    code = (
        "import resource, sys\n"
        "from jaxmap.atomic import write_atomic\n"
        "from jaxmap.errors import JaxmapError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))\n"
        "try: write_atomic(sys.argv[1], lambda f: [f.write(bytes(1 << 18)) for _ in range(9)])\n"
        "except JaxmapError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "file"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{tmp_path / 'file'}: cannot be written: ")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_error_of_what_the_writer_reads_is_not_blamed_on_the_target(tmp_path):
    with pytest.raises(FileNotFoundError, match="source"):
        write_atomic(tmp_path / "out" / "x", lambda file: (tmp_path / "source").read_bytes())


def test_paths_that_cannot_be(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "deeper" / "x"):
        with pytest.raises(InputError, match="a file, not a folder"):
            write_atomic(path, b"")
        with pytest.raises(InputError, match="a file, not a folder"):
            create_atomic(path, b"")
        with pytest.raises(InputError, match="a file, not a folder"):
            check_writable(path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        write_atomic(tmp_path / "folder", b"")
    with pytest.raises(InputError, match="too long"):
        write_atomic(tmp_path / ("x" * 300), b"")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_another_failure_names_the_path_too(tmp_path, monkeypatch):
    def fails(*args):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(JaxmapError, match=r"file: cannot be written: Input/output error") as caught:
        write_atomic(tmp_path / "file", b"")
    assert not isinstance(caught.value, InputError)


def test_only_the_first_creates(tmp_path):
    assert create_atomic(tmp_path / "x", b"first")
    assert not create_atomic(tmp_path / "x", b"second")
    assert (tmp_path / "x").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["x"]


def test_creates_without_hard_links(tmp_path, monkeypatch):
    def fails(*args):
        raise OSError(errno.ENOTSUP, "not supported")

    monkeypatch.setattr(os, "link", fails)
    assert create_atomic(tmp_path / "x", b"first")
    assert (tmp_path / "x").read_bytes() == b"first"
    assert os.listdir(tmp_path) == ["x"]


def test_removes_the_temporaries_of_dead_writers_only(tmp_path):
    code = (
        "import os, signal, sys\n"
        "from jaxmap.atomic import write_atomic\n"
        "write_atomic(sys.argv[1], lambda file: os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "a.dotted.name"])
    assert killed.returncode == -signal.SIGKILL
    (dead,) = temps(tmp_path)
    host, pid = dead.split(".")[-2].rsplit("-", 2)[:2]
    others = {
        "living": f".x.{host}-{os.getpid()}-0a1b.tmp",
        "elsewhere": ".x.otherhost-1-0a1b.tmp",
        "old": ".x.otherhost-2-0a1b.tmp",
        "huge": f".x.{host}-99999999999999999999-0a1b.tmp",
        "users": "notes.tmp",
        "hidden": ".x.tmp",
    }
    for name in others.values():
        (tmp_path / name).write_bytes(b"")
    old = time.time() - 2 * 24 * 3600
    os.utime(tmp_path / others["old"], (old, old))
    assert int(pid) > 0
    assert remove_stale_temps(tmp_path) == 3
    left = {others[kind] for kind in ("living", "elsewhere", "users", "hidden")}
    assert set(os.listdir(tmp_path)) == left
    assert remove_stale_temps(tmp_path / "no such folder") == 0


def _tokenizer(path):
    tokenizers.Tokenizer(tokenizers.models.BPE()).save(str(path))


def _safetensors(path):
    safetensors.numpy.save_file({"x": np.zeros(100)}, path)


def _tensorstore(path):
    spec = {"driver": "zarr", "kvstore": {"driver": "file", "path": str(path)}}
    tensorstore.open(spec, create=True, dtype="float32", shape=[100]).result()


@pytest.mark.parametrize("write", [_tokenizer, _safetensors, _tensorstore])
def test_libraries_that_raise_no_oserror_on_a_full_disk(write, tmp_path):
    with (
        largest_file(10),
        pytest.raises(JaxmapError, match=r"out: cannot be written.*ulimit -f") as caught,
        full_disk_errors(tmp_path / "out"),
    ):
        write(tmp_path / "x")
    assert not isinstance(caught.value, InputError)
    with pytest.raises(ValueError, match="another"), full_disk_errors(tmp_path):
        raise ValueError("another (os error 2)")


def test_temporary_folders(tmp_path, monkeypatch):
    with temporary_folder() as folder:
        (folder / "x").write_bytes(b"x")
    assert not folder.exists()
    with (
        largest_file(10),
        pytest.raises(JaxmapError, match=r"jaxmap-.*: cannot be written: .*ulimit"),
        temporary_folder() as folder,
    ):
        (folder / "x").write_bytes(b"x" * 11)
    assert not folder.exists()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "none"))
    with pytest.raises(JaxmapError, match="set TMPDIR"), temporary_folder():
        pass

"""Checkpoints in folders: what identifies them, and what is said of those that are none."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from jaxmap.checkpoint.refs import Ref
from jaxmap.checkpoint.sources import folder as folders
from jaxmap.checkpoint.sources.files import fetch, resolve
from jaxmap.checkpoint.sources.types import nearest, stat_files
from jaxmap.errors import InputError, JaxmapError


def write(folder: Path, **extra: bytes) -> Path:
    """A checkpoint as far as its files go; extra contents by name, dots written as __."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        "config.json": b'{"model_type": "gpt_neox"}',
        "model.safetensors": b"weights",
        "tokenizer.json": b"{}",
        **{name.replace("__", "."): body for name, body in extra.items()},
    }
    for name, body in contents.items():
        (folder / name).write_bytes(body)
    return folder


def commit_of(folder: Path, revision: str | None = None) -> str:
    return resolve(Ref(str(folder), revision)).commit


def refused(ref: Ref, kind: type[JaxmapError] = InputError) -> str:
    with pytest.raises(JaxmapError) as caught:
        fetch(resolve(ref))
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_identity_is_the_contents(tmp_path):
    one, two = write(tmp_path / "é 1"), write(tmp_path / "two", README__md=b"x", run__py=b"y")
    assert commit_of(one) == commit_of(two)
    lines = "".join(
        f"{path.name}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in sorted(one.iterdir())
    )
    assert commit_of(one) == "sha256:" + hashlib.sha256(lines.encode()).hexdigest()
    seen = {commit_of(one)}
    for name in ("config.json", "model.safetensors", "tokenizer.json", "merges.txt", "a.tiktoken"):
        (two / name).write_bytes(b"other")
        seen.add(commit_of(two))
    assert len(seen) == 6
    found = fetch(resolve(Ref(str(one))))
    assert found.folder == one
    assert [file.name for file in found.files] == [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    ]


def test_known_signature_spares_the_hash(tmp_path, monkeypatch):
    folder = write(tmp_path / "m")
    ref = Ref(str(folder))
    first = resolve(ref)
    kept = json.loads(json.dumps([[first.files, first.commit]]))  # as a record would hold it

    def no_hash(*arguments):
        raise AssertionError("hashed")

    with monkeypatch.context() as patch:
        patch.setattr(folders, "content_hash", no_hash)
        assert resolve(ref, lambda asked: kept if asked == ref else []) == first
    # Same size and modification time: the change time tells.
    stat = os.stat(folder / "model.safetensors")
    (folder / "model.safetensors").write_bytes(b"WEIGHTS")
    while os.stat(folder / "model.safetensors").st_ctime_ns == stat.st_ctime_ns:  # coarse clocks
        os.utime(folder / "model.safetensors", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    os.utime(folder / "model.safetensors", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    again = resolve(ref, lambda asked: kept)
    assert again.commit != first.commit


def test_big_files_show_progress(tmp_path, capsys):
    folder = write(tmp_path / "m", model__safetensors=b"x" * 100)
    quiet = resolve(Ref(str(folder)))
    assert capsys.readouterr().err == ""
    hashed = folders.content_hash(folder, quiet.files, "m", piece=7, show_progress=100)
    assert hashed == quiet.commit
    assert "hashing" in capsys.readouterr().err


def test_change_while_hashing_and_after(tmp_path, monkeypatch):
    folder = write(tmp_path / "m")
    resolved = resolve(Ref(str(folder)))
    (folder / "model.safetensors").write_bytes(b"longer weights")
    with pytest.raises(JaxmapError, match="changed while they were read"):
        fetch(resolved)

    def grows(where: Path, names, what):
        signature = stat_files(where, names, what)
        with open(folder / "model.safetensors", "ab") as stream:
            stream.write(b"more")
        return signature

    monkeypatch.setattr(folders, "stat_files", grows)
    assert "change while" in refused(Ref(str(folder)), JaxmapError)


def test_subfolders(tmp_path):
    base = tmp_path / "run"
    write(base / "step0", model__safetensors=b"0")
    write(base / "step1000", model__safetensors=b"1")
    assert commit_of(base, "step0") == commit_of(base / "step0")
    assert commit_of(base, "step0") != commit_of(base, "step1000")
    message = refused(Ref(str(base)))
    assert f"{base}@step0" in message
    assert "@{step0,step1000}" in message
    message = refused(Ref(str(base), "step900"))
    assert "nearest: step1000, step0" in message
    assert "no subfolder" in refused(Ref(str(base / "step0"), "../step1000"))
    (base / "step5").mkdir()
    assert f"{base}@step5: no config.json" in refused(Ref(str(base), "step5"))
    assert "no such folder" in refused(Ref(str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ([], "no weights (looked for model.safetensors, pytorch_model.bin"),
        (["tf_model.h5"], "only TensorFlow weights (tf_model.h5)"),
        (["flax_model.msgpack"], "only Flax weights"),
        (["a.gguf"], "a.gguf: not a GGUF file"),
        (["model.onnx"], "only ONNX weights"),
        (["model-00001-of-00003.safetensors"], "no index"),
    ],
)
def test_no_weights(tmp_path, names, reason):
    (tmp_path / "config.json").write_text("{}")
    for name in names:
        (tmp_path / name).write_text("x")
    assert reason in refused(Ref(str(tmp_path)))


def test_shards(tmp_path):
    folder = write(tmp_path)
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = folder / "model.safetensors.index.json"
    weight_map = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    index.write_text(json.dumps({"weight_map": weight_map}))
    assert "model-00002-of-00002.safetensors is missing" in refused(Ref(str(folder)))
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"two")
    before = commit_of(folder)
    (folder / "model-00002-of-00002.safetensors").write_bytes(b"TWO")
    assert commit_of(folder) != before
    for text in ('{"weight_map"', "[]", '{"weight_map": {"a": 3}}'):
        index.write_text(text)
        assert "not a weight index" in refused(Ref(str(folder)))
    for text in ('{"weight_map": {}}', '{"weight_map": {"a": "/etc/passwd"}}'):
        index.write_text(text)
        assert "names no files, or files outside" in refused(Ref(str(folder)))


def test_hub_cache_folder_and_its_links(tmp_path):
    cache = tmp_path / "models--org--tiny"
    commit = "0123456789abcdef0123456789abcdef01234567"
    blobs = write(cache / "blobs")
    snapshot = cache / "snapshots" / commit
    snapshot.mkdir(parents=True)
    for blob in blobs.iterdir():
        (snapshot / blob.name).symlink_to(Path("../../blobs") / blob.name)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    (cache / "refs" / "step3").write_text(commit)
    plain = commit_of(write(tmp_path / "plain"))
    assert commit_of(cache) == commit_of(cache, "step3") == commit_of(cache, commit) == plain
    assert commit_of(snapshot) == plain
    assert fetch(resolve(Ref(str(cache), "step3"))).folder == snapshot
    assert "nearest: step3" in refused(Ref(str(cache), "step4"))
    (blobs / "model.safetensors").unlink()
    assert "model.safetensors is missing" in refused(Ref(str(snapshot)))


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t", *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A Git clone with branch step0, tag v1 and the files of `main` in its working tree."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    folder = tmp_path / "clone é"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    for branch, body in (("step0", b"zero"), ("v1", b"one"), ("main", b"main")):
        write(folder, model__safetensors=body)
        (folder / "odd.txt").write_text("not taken")
        git(folder, "add", "-A")
        git(folder, "commit", "-q", "-m", branch)
        if branch != "main":
            git(folder, "tag" if branch == "v1" else "branch", branch)
    return folder


def test_git_revisions(clone, tmp_path):
    for revision, body in (("step0", b"zero"), ("v1", b"one"), ("main~1", b"one")):
        found = fetch(resolve(Ref(str(clone), revision)))
        assert (found.folder / "model.safetensors").read_bytes() == body
        assert found.commit == git(clone, "rev-parse", revision)
        names = ["config.json", "model.safetensors", "tokenizer.json"]
        assert sorted(path.name for path in found.folder.iterdir()) == names
    assert commit_of(clone, found.commit[:12]) == found.commit
    inode = os.stat(found.folder).st_ino
    assert fetch(resolve(Ref(str(clone), "main~1"))) == found
    assert os.stat(found.folder).st_ino == inode
    assert commit_of(clone).startswith("sha256:")
    assert (clone / "model.safetensors").read_bytes() == b"main"
    message = refused(Ref(str(clone), "step1"))
    assert "no subfolder or revision 'step1'" in message
    assert "nearest: step0" in message
    assert "no subfolder" in refused(Ref(str(clone), "--help"))
    # A folder inside a clone is not that clone.
    assert "no subfolder" in refused(Ref(str(write(clone / "inside")), "step0"))

    second = tmp_path / "second"
    git(tmp_path, "clone", "-q", str(clone), str(second))
    assert commit_of(second, "step0") == git(clone, "rev-parse", "step0")


def test_git_lfs_objects(clone):
    body = b"big weights" * 100
    oid = hashlib.sha256(body).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(body)}\n"
    write(clone, model__safetensors=pointer.encode())
    git(clone, "add", "-A")
    git(clone, "commit", "-q", "-m", "lfs")
    git(clone, "branch", "large")
    message = refused(Ref(str(clone), "large"))
    assert "model.safetensors is stored in Git LFS" in message
    assert "git lfs fetch" in message
    assert "Git LFS pointer" in refused(Ref(str(clone)))

    stored = clone / ".git" / "lfs" / "objects" / oid[:2] / oid[2:4] / oid
    stored.parent.mkdir(parents=True)
    stored.write_bytes(body[:-1])
    assert "is stored in Git LFS" in refused(Ref(str(clone), "large"))
    stored.write_bytes(body)
    found = fetch(resolve(Ref(str(clone), "large")))
    assert (found.folder / "model.safetensors").read_bytes() == body
    assert found.files[1].size == len(body)


def test_git_revision_that_is_no_checkpoint(clone):
    git(clone, "rm", "-q", "config.json")
    git(clone, "commit", "-q", "-m", "none")
    assert "no config.json" in refused(Ref(str(clone), "main"))


def test_nearest():
    assert nearest("step7", ["main", "step0", "step8", "step100"]) == (
        "nearest: step8, step0, step100, main"
    )
    assert nearest("x", []) == "it has none"

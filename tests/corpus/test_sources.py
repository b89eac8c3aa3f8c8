"""Documents from the standard library, files, folders and (feigned) Hub datasets."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import types
from itertools import islice
from pathlib import Path

import pytest

from jaxmap.corpus import sources
from jaxmap.corpus.chunks import sample_chunks
from jaxmap.corpus.sources import SOURCES, make_texts, open_source
from jaxmap.corpus.texts import load_texts
from jaxmap.errors import InputError, JaxmapError


@pytest.fixture
def hub(monkeypatch):
    """A stand-in for the package datasets; `calls` has what was asked of it."""
    module = types.ModuleType("datasets")
    module.rows = [{"text": f"row {i}", "meta": {"pile_set_name": f"set {i}"}} for i in range(5)]
    module.calls = []
    module.error = None

    def load_dataset(name, config, *, split, streaming):
        module.calls.append((name, config, split, streaming))
        yield from module.rows
        if module.error is not None:
            raise module.error

    module.load_dataset = load_dataset
    monkeypatch.setitem(sys.modules, "datasets", module)
    return module


def test_stdlib_is_real_text_in_a_fixed_order():
    first = list(open_source("stdlib"))
    names = [name for name, _ in first]
    assert names == sorted(names)
    assert len(set(names)) == len(names) > 300
    assert {"argparse.py", "json/decoder.py"} <= set(names)
    parts = {part for name in names for part in name.split("/")}
    assert not parts & {"site-packages", "test", "tests", "idle_test", "__pycache__", "encodings"}
    assert sum(len(document) for _, document in first) > 5e6
    assert list(SOURCES["stdlib"]()) == first
    assert dict(first)["json/decoder.py"] == Path(json.decoder.__file__).read_text("utf-8")


def test_stdlib_passes_over_what_is_not_utf8_or_not_source(tmp_path, monkeypatch):
    for name in (
        "b.py",
        "a/z.txt",
        "test/t.py",
        "x/tests/t.py",
        "__pycache__/c.py",
        "c.pyc",
        "site-packages/p.py",
        "_sysconfigdata_m.py",
        "config-3.11/p.py",
        "d.rst",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "latin.py").write_bytes(b"caf\xe9")
    monkeypatch.setattr(sources.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    assert [name for name, _ in sources.stdlib()] == ["a/z.txt", "b.py", "d.rst"]


def test_make_texts_from_the_standard_library(tmp_path, caplog):
    out = tmp_path / "made" / "t.jsonl.gz"
    with caplog.at_level(logging.WARNING):
        assert len(make_texts(out, "stdlib", n=300)) == 300
        texts = load_texts(out)
    assert not caplog.records  # no duplicates
    assert len(texts) == 300
    assert ((texts.num_bytes > 256) & (texts.num_bytes <= 1024)).all()
    again = tmp_path / "again.jsonl"
    make_texts(again, "stdlib", n=300)
    assert load_texts(again).fingerprint == texts.fingerprint
    make_texts(again, "stdlib", n=300, seed=43)
    assert load_texts(again).fingerprint != texts.fingerprint
    rows = [json.loads(line) for line in again.read_text("utf-8").splitlines()]
    chosen = sample_chunks(open_source("stdlib"), 300, seed=43)
    documents = dict(open_source("stdlib"))
    for index, (row, chunk) in enumerate(zip(rows, chosen, strict=True)):
        assert row == {
            "index": index,
            "text": chunk.text,
            "document": chunk.document,
            "doc_idx": chunk.doc_idx,
            "chunk_idx": chunk.chunk_idx,
        }
        assert row["text"] in documents[row["document"]]


def test_a_texts_file_gives_a_document_a_text(tmp_path):
    path = tmp_path / "corpus.jsonl"
    path.write_text('{"text": "a"}\n\n{"text": "b"}\n')
    assert list(open_source(str(path))) == [
        ("corpus.jsonl, line 1", "a"),
        ("corpus.jsonl, line 3", "b"),
    ]
    path.write_text('{"prompt": "a", "response": "b"}\n')
    with pytest.raises(InputError, match="line 1: pairs"):
        list(open_source(str(path)))


def test_a_folder_gives_a_document_a_file(tmp_path):
    for name in ("b.md", "sub/a.rst", "a.txt", "c.py", "skipped.bin", ".git/x.txt", ".hidden.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + name.encode() + b"\nline 2")
    documents = list(open_source(str(tmp_path)))
    assert documents == [(n, f"{n}\nline 2") for n in ("a.txt", "b.md", "c.py", "sub/a.rst")]
    assert list(open_source(str(tmp_path / "b.md"))) == [("b.md", "b.md\nline 2")]
    (tmp_path / "b.md").write_bytes(b"one\ncaf\xe9")
    with pytest.raises(InputError, match=r"b\.md, line 2: invalid UTF-8"):
        list(open_source(str(tmp_path)))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \.txt, \.md, \.py, \.rst files"):
        open_source(str(tmp_path / "empty"))


@pytest.mark.parametrize("source", ["wikipedia", "", "Stdlib", "x.csv"])
def test_unknown_sources_list_what_exists(source):
    with pytest.raises(InputError, match=f"unknown source '{source}'; give stdlib, pile, a file"):
        open_source(source)


@pytest.mark.parametrize(
    "source", ["missing.txt", "data/missing.jsonl", "./folder/missing", "a/b/c/d"]
)
def test_missing_files_are_not_taken_for_datasets(source, hub):
    with pytest.raises(InputError, match="no such file or folder"):
        list(open_source(source))
    assert not hub.calls


@pytest.mark.parametrize(
    ("source", "asked"),
    [
        ("org/name", ("org/name", None, "train")),
        ("org/na.me-2:en", ("org/na.me-2", "en", "train")),
        ("org/name@test[:10]", ("org/name", None, "test[:10]")),
        ("org/name:20231101.en@validation", ("org/name", "20231101.en", "validation")),
    ],
)
def test_hub_datasets(source, asked, hub):
    assert [text for _, text in open_source(source)] == [row["text"] for row in hub.rows]
    assert hub.calls == [(*asked, True)]


def test_the_pile_is_its_first_documents(hub, monkeypatch):
    monkeypatch.setattr(sources, "PILE_DOCUMENTS", 3)
    assert list(open_source("pile")) == [(f"set {i}", f"row {i}") for i in range(3)]
    assert hub.calls == [("monology/pile-uncopyrighted", None, "train", True)]


def test_hub_failures_are_one_line(hub):
    hub.rows[2] = {"content": "a", "id": 3}
    with pytest.raises(InputError, match="row 2 has no string `text`, only content, id"):
        list(open_source("org/name"))
    del hub.rows[2:]
    for error, kind in [
        (ConnectionError("Couldn't reach the Hub\nand more"), JaxmapError),
        (RuntimeError(""), JaxmapError),
        (FileNotFoundError("Dataset 'org/name' doesn't exist on the Hub"), InputError),
        (ValueError("Bad split: nope. Available splits: ['train']\n"), InputError),
    ]:
        hub.error = error
        stream = open_source("org/name")
        assert len(list(islice(stream, 2))) == 2  # the failure comes in mid-stream
        with pytest.raises(JaxmapError) as caught:
            next(stream)
        assert type(caught.value) is kind
        assert "org/name" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_without_datasets_what_to_install_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "datasets", None)
    for source in ("pile", "org/name"):
        with pytest.raises(InputError, match="pip install datasets"):
            make_texts(tmp_path / "t.jsonl", source)
    assert not list(tmp_path.iterdir())


def test_bad_outputs_are_refused_before_anything_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "open_source", lambda source: pytest.fail("source was opened"))
    for name in ("t.txt", "t.json", "t"):
        with pytest.raises(InputError, match=r"\.jsonl"):
            make_texts(tmp_path / name, "stdlib")
    (tmp_path / "d.jsonl").mkdir()
    with pytest.raises(InputError, match="is a folder"):
        make_texts(tmp_path / "d.jsonl", "stdlib")


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "latin.md").write_bytes(b"caf\xe9")  # reading it would be another error
    with pytest.raises(InputError, match="cannot be written"):
        make_texts(tmp_path / "file" / "t.jsonl", str(tmp_path / "latin.md"))


def test_too_few_chunks_leave_no_file(tmp_path):
    (tmp_path / "a.md").write_text("x" * 3000)
    with pytest.raises(InputError, match=r"only 3 chunks .* 4 wanted"):
        make_texts(tmp_path / "t.jsonl", str(tmp_path / "a.md"), n=4)
    assert not (tmp_path / "t.jsonl").exists()
    assert len(make_texts(tmp_path / "t.jsonl", str(tmp_path / "a.md"))) == 3


def test_corpus_modules_import_no_heavy_library():
    code = (
        "import sys, jaxmap.corpus.sources, jaxmap.corpus.tokens\n"
        "print([m for m in ('torch', 'transformers', 'tokenizers', 'datasets', 'jax') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

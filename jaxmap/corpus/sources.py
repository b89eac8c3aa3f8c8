"""Sources of documents: Python's standard library, the Pile, files, or a dataset of the Hub."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path

from jaxmap.atomic import check_writable
from jaxmap.corpus.chunks import Chunk, sample_chunks
from jaxmap.corpus.textfiles import COMPRESSIONS, FORMATS, read_records
from jaxmap.corpus.texts import save_texts
from jaxmap.errors import InputError, JaxmapError
from jaxmap.progress import progress

Documents = Iterator[tuple[str, str]]  # (name, whole text), always in the same order

DOCUMENT_SUFFIXES = (".txt", ".md", ".py", ".rst")
PILE = "monology/pile-uncopyrighted"
PILE_DOCUMENTS = 1_000_000  # arXiv 2502.16173: the first million of the train split

# Parts of the standard library that are left out: those that differ between installations of the
# same version, and encodings, a hundred code tables whose chunks are mostly identical.
_STDLIB_LEFT_OUT = re.compile(
    r"(^|/)(site-packages|dist-packages|__pycache__|test|tests|idle_test|_bundled|lib-dynload"
    r"|config-[^/]*)(/|$)|^encodings/|^_sysconfigdata|^sitecustomize\.py$"
)
_HUB_DATASET = re.compile(r"(?P<name>[\w.-]+/[\w.-]+)(:(?P<config>[^:@\s]+))?(@(?P<split>\S+))?")


def stdlib() -> Documents:
    """The source and text files of the running Python's standard library, by relative path.

    They are real text that every machine has. Tests, installed packages, generated files, code
    tables and files that are not UTF-8 are left out.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    for path in _files(folder):
        name = path.relative_to(folder).as_posix()
        if _STDLIB_LEFT_OUT.search(name):
            continue
        try:
            yield name, path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError:
            continue


def pile() -> Documents:
    """The first 1,000,000 documents of the Pile without its copyrighted parts (train split)."""
    for row in islice(_hub_rows(PILE, None, "train"), PILE_DOCUMENTS):
        yield row["meta"]["pile_set_name"], row["text"]


SOURCES: dict[str, Callable[[], Documents]] = {"stdlib": stdlib, "pile": pile}


def open_source(source: str) -> Documents:
    """Yields (name, document) of a source: a name of SOURCES, a file or folder, or a Hub dataset.

    A texts file gives one document per text; a .md, .py or .rst file gives one document; a folder
    gives one document for each such file or .txt file in it. A dataset is written
    `org/name[:config][@split]` (default split "train") and has a column `text`.

    Raises InputError for anything else, and JaxmapError if the network fails.
    """
    if source in SOURCES:
        return SOURCES[source]()
    path = Path(source)
    if source and path.is_dir():  # the path of "" would be the current folder
        return _folder(path)
    texts_file = source.lower().endswith(tuple(f + c for f in FORMATS for c in COMPRESSIONS))
    if source and path.exists():
        if not texts_file and path.suffix in DOCUMENT_SUFFIXES:
            return ((p.name, _read(p)) for p in [path])
        return _texts_file(path)
    dataset = _HUB_DATASET.fullmatch(source)
    if dataset and not texts_file and not source.startswith("."):
        return _hub_documents(dataset["name"], dataset["config"], dataset["split"] or "train")
    if texts_file or "/" in source or path.suffix in DOCUMENT_SUFFIXES:
        raise InputError(f"{source}: no such file or folder")
    raise InputError(
        f"unknown source {source!r}; give {', '.join(SOURCES)}, a file or folder of texts, or a "
        "dataset of the Hub as org/name[:config][@split]"
    )


def draw_texts(
    source: str,
    n: int | None = None,
    min_bytes: int = 256,
    max_bytes: int = 1024,
    seed: int = 42,
    scratch: Path | None = None,
) -> list[Chunk]:
    """Cuts a source's documents into chunks and draws n of them (arXiv 2502.16173).

    Sizes are in UTF-8 bytes. For arguments and errors see `open_source` and `sample_chunks`.
    """
    documents = open_source(source)
    total = PILE_DOCUMENTS if source == "pile" else None
    with progress(total, f"reading {source}", " docs") as bar:

        def counted() -> Documents:
            for document in documents:
                yield document
                bar.update()

        return sample_chunks(counted(), n, min_bytes, max_bytes, seed, scratch=scratch)


def make_texts(
    out: str | Path,
    source: str,
    n: int | None = None,
    min_bytes: int = 256,
    max_bytes: int = 1024,
    seed: int = 42,
) -> list[Chunk]:
    """Draws texts by `draw_texts`, writes them with the fields of `rows_of`, and returns them.

    `out` is a .jsonl, .jsonl.gz or .jsonl.zst file. For other arguments and errors see
    `draw_texts` and `save_texts`.
    """
    out = Path(out)
    if not out.name.lower().endswith(tuple(".jsonl" + c for c in COMPRESSIONS)):
        raise InputError(f"{out}: texts are written as .jsonl, .jsonl.gz or .jsonl.zst")
    if out.is_dir():
        raise InputError(f"{out}: is a folder; name a file in it")
    open_source(source)  # errors of the source come before errors of the disk
    check_writable(out.parent)  # before hours of reading
    chunks = draw_texts(source, n, min_bytes, max_bytes, seed, scratch=out.parent)
    save_texts(out, rows_of(chunks))
    return chunks


def rows_of(chunks: Iterable[Chunk]) -> Iterator[dict[str, object]]:
    """The rows of a texts file.

    Their fields are index, text, document, doc_idx (the document's index in the source) and
    chunk_idx (the index among all chunks of the document).
    """
    for index, chunk in enumerate(chunks):
        yield {
            "index": index,
            "text": chunk.text,
            "document": chunk.document,
            "doc_idx": chunk.doc_idx,
            "chunk_idx": chunk.chunk_idx,
        }


def _files(folder: Path) -> list[Path]:
    """The text files in a folder and its subfolders, sorted, without hidden ones."""
    found = []
    for path in folder.rglob("*"):
        parts = path.relative_to(folder).parts
        if path.suffix in DOCUMENT_SUFFIXES and not any(part.startswith(".") for part in parts):
            found.append(path)
    return sorted(
        (path for path in found if path.is_file()),
        key=lambda path: path.relative_to(folder).as_posix(),
    )


def _folder(folder: Path) -> Documents:
    paths = _files(folder)
    if not paths:
        raise InputError(f"{folder}: no {', '.join(DOCUMENT_SUFFIXES)} files in this folder")
    return ((path.relative_to(folder).as_posix(), _read(path)) for path in paths)


def _read(path: Path) -> str:
    try:
        data = path.read_bytes()
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {number}: invalid UTF-8 (0x{data[error.start]:02x}); save it as UTF-8"
        ) from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from error


def _texts_file(path: Path) -> Documents:
    for record in read_records(path):
        if record.prompt is not None:
            raise InputError(
                f"{path}, {record.where}: pairs of prompt and response are not cut into chunks; "
                "score the file as it is"
            )
        yield f"{path.name}, {record.where}", record.text


def _hub_documents(name: str, config: str | None, split: str) -> Documents:
    for number, row in enumerate(_hub_rows(name, config, split)):
        text = row.get("text")
        if not isinstance(text, str):
            raise InputError(
                f"dataset {name}: row {number} has no string `text`, only {', '.join(row)}; "
                "choose a dataset with a `text` column"
            )
        yield name, text


def _hub_rows(name: str, config: str | None, split: str) -> Iterator[dict]:
    try:
        import datasets
    except ImportError as error:
        raise InputError(
            f"{name}: no such file or folder, and a dataset of the Hub is read by the package "
            "datasets, which is missing; run: pip install datasets"
        ) from error
    try:
        yield from datasets.load_dataset(name, config, split=split, streaming=True)
    except (FileNotFoundError, ValueError) as error:  # no such dataset; no such config or split
        raise InputError(f"dataset {name}: {_one_line(error)}") from error
    except Exception as error:  # several libraries raise network errors of their own
        raise JaxmapError(
            f"dataset {name}: cannot be read from the Hub ({_one_line(error)}); check the network "
            "and run again"
        ) from error


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0].strip()}" if lines else type(error).__name__

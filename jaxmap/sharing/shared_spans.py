"""The bytes that tokens stand for, shared with log-probabilities of tokens (`jaxmap tokens`).

A repository has them under the names that stores have: token_spans/HASH.safetensors, where the hash
is of what they depend on (`jaxmap.store.token_spans`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from jaxmap.atomic import temporary_folder
from jaxmap.errors import JaxmapError
from jaxmap.sharing.repository import Repository, RepositoryContents
from jaxmap.sharing.shared_files import NotSharedError
from jaxmap.stats.alignment import Spans
from jaxmap.store import Store, token_spans
from jaxmap.store.record import Entry
from jaxmap.store.statistics import TOKEN_LOG_LIKELIHOOD


def spans_of(entries: Iterable[Entry], store: Store) -> dict[str, Path]:
    """The files of the bytes of these results' tokens that the store has, by their shared names."""
    paths = {
        token_spans.path_of(store.path, entry.identity, entry.provenance): None
        for entry in entries
        if TOKEN_LOG_LIKELIHOOD in entry.statistics
    }
    return {f"{token_spans.FOLDER}/{path.name}": path for path in paths if path.exists()}


def fetch_spans(
    store: Store, repository: Repository, contents: RepositoryContents
) -> tuple[list[str], dict[str, str]]:
    """Adds the files that results of the store need and a repository has.

    Returns the names of the files that were added, and of those refused the reasons.
    """
    added: list[str] = []
    refused: dict[str, str] = {}
    for entry in store.entries():
        path = token_spans.path_of(store.path, entry.identity, entry.provenance)
        name = f"{token_spans.FOLDER}/{path.name}"
        if (
            TOKEN_LOG_LIKELIHOOD not in entry.statistics
            or path.exists()
            or name not in contents.files
            or name in refused
        ):
            continue
        with temporary_folder() as folder:
            came = repository.download(name, contents.commit, folder)
            try:
                token_spans.write(path, _checked(came, store, entry))
                added.append(name)
            except NotSharedError as error:
                refused[name] = str(error)
    return added, refused


def _checked(path: Path, store: Store, entry: Entry) -> Spans:
    """The spans in a file that came from others; RefusedError unless they are of these tokens."""
    _, offsets_N1 = store.load_tokens(entry, TOKEN_LOG_LIKELIHOOD)
    try:
        spans = token_spans.read(path)
    except JaxmapError as error:
        raise NotSharedError("it is damaged") from error
    if spans is None or not np.array_equal(spans.offsets_N1, offsets_N1):
        raise NotSharedError("it is of other tokens than the results that it belongs to")
    size_M = np.repeat(store.texts.text_bytes, np.diff(offsets_N1))
    bad_M = (spans.start_M < 0) | (spans.end_M < spans.start_M) | (spans.end_M > size_M)
    if spans.start_M.shape != size_M.shape or bad_M.any():
        raise NotSharedError("it has bytes that are not in the texts")
    return spans

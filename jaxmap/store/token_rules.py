"""Finds results whose texts would have other tokens by today's rule, without scoring.

The token rule of this package (`corpus.vocabulary.RULE`) decides how a checkpoint's files give ids.
A record names the rule by which it was scored; with an earlier one, its tokens may be different.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxmap.corpus.texts import TextSet, load_texts
from jaxmap.corpus.vocabulary import RULE, RULE_NAME
from jaxmap.errors import InputError
from jaxmap.store.record import Entry, Record
from jaxmap.store.statistics import LOG_LIKELIHOOD
from jaxmap.store.store import Store


@dataclass(frozen=True)
class TokenCheck:
    """Results of an earlier rule.

    Fields:
      changed: results whose texts have other tokens by today's rule.
      unknown: results whose tokenizer or texts are not on this machine.
    """

    changed: list[Entry]
    unknown: list[Entry]


def check_tokens(store: Store, entries: Iterable[Entry]) -> TokenCheck:
    """Compares the tokens of results of an earlier rule with today's; other results are ignored.

    One result for each tokenizer is compared. Its files are read from the folder or the Hub's
    cache, the texts from the file with which the store was made.
    """
    check = TokenCheck([], [])
    verdicts: dict[tuple[str, str, int | None], bool | None] = {}
    texts: TextSet | None = None
    for entry in entries:
        if not _is_of_an_earlier_rule(entry):
            continue
        identity = entry.identity
        key = (identity.tokenizer, identity.special_rule, entry.provenance.context)
        if verdicts.get(key) is None and (folder := _folder_of(entry)) is not None:
            texts = texts or _texts_of(store)
            verdicts[key] = _has_changed(store.load(entry), folder, texts)
        verdict = verdicts.get(key)
        if verdict is not False:
            (check.changed if verdict else check.unknown).append(entry)
    return check


def _is_of_an_earlier_rule(entry: Entry) -> bool:
    versions = entry.provenance.versions
    scored_here = bool(versions) and LOG_LIKELIHOOD in entry.statistics
    return scored_here and versions.get(RULE_NAME, "1") != str(RULE)


def _has_changed(record: Record, folder: Path, texts: TextSet | None) -> bool | None:
    """Whether a record's texts have other tokens by today's rule; None if that is unknown."""
    from jaxmap.corpus.tokens import load_tokenizer

    try:
        tokenizer = load_tokenizer(folder)
        has_prompts = not np.array_equal(record.num_scored, np.maximum(record.num_tokens - 1, 0))
        if tokenizer.fingerprint == record.identity.tokenizer and not has_prompts:
            return False
        if texts is None:
            return None
        tokens = tokenizer.encode(texts, record.provenance.context)
    except InputError:
        return None
    same = np.array_equal(tokens.lengths, record.num_tokens)
    return not (same and np.array_equal(tokens.num_scored, record.num_scored))


def _folder_of(entry: Entry) -> Path | None:
    """The folder with the files from which a result came; None if it is gone or has changed."""
    from jaxmap.checkpoint.refs import is_folder
    from jaxmap.checkpoint.sources.hub import Hub

    ref, revision, commit = entry.identity.ref, entry.identity.revision, entry.identity.commit
    if not is_folder(ref):
        folder = Hub().repository(ref) / "snapshots" / commit
        return folder if folder.is_dir() else None
    for folder in (Path(ref), Path(ref) / (revision or "")):
        if entry.provenance.files and all(
            _is_unchanged(folder / str(name), size, mtime_ns)
            for name, size, mtime_ns, *_ in entry.provenance.files
        ):
            return folder
    return None


def _is_unchanged(path: Path, size: int, mtime_ns: int) -> bool:
    try:
        stat = path.stat()
    except OSError:
        return False
    return (stat.st_size, stat.st_mtime_ns) == (size, mtime_ns)


def _texts_of(store: Store) -> TextSet | None:
    if not Path(store.texts.source).is_file():
        return None
    try:
        found = load_texts(store.texts.source)
    except InputError:
        return None
    return found if found.fingerprint == store.texts.fingerprint else None

"""`jaxmap pull`: adds the results of a dataset repository to a store."""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from jaxmap.atomic import create_atomic, temporary_folder, write_atomic
from jaxmap.errors import InputError
from jaxmap.progress import progress
from jaxmap.results import Table
from jaxmap.sharing.redaction import public_source
from jaxmap.sharing.repository import Repository, RepositoryContents, missing, quiet_client
from jaxmap.sharing.shared_files import NotSharedError, SharedName, arrived, parse_name
from jaxmap.sharing.shared_spans import fetch_spans
from jaxmap.store import Store, text_facts
from jaxmap.store.checkpoints import Checkpoint, means
from jaxmap.store.record import checkpoint_name
from jaxmap.store.records import FOLDER, TOKEN_FOLDER
from jaxmap.store.statistics import VECTORS
from jaxmap.store.text_facts import TextFacts

TEXTS = "store.json"
_AT_ONCE = 8  # downloads
_NAMED = 10  # refused files that a message names


@dataclass(frozen=True)
class Pulled(Table):
    """What came from a repository.

    Fields:
      store: the store that it came to.
      repo: the repository, and `commit` its commit.
      added: the names of files that are new here.
      there: the names of files whose contents were here already.
      refused: the names of files that were not taken, with the reasons.
      models: the names of the models to which the new files belong.
    """

    file = "pulled.csv"
    columns = ("file", "state", "reason")

    store: Store
    repo: str
    commit: str
    added: tuple[str, ...]
    there: tuple[str, ...]
    refused: dict[str, str]
    models: tuple[str, ...]

    def rows(self) -> Sequence[tuple[str, str, str]]:
        """One row per file of results."""
        return [
            *((name, "added", "") for name in self.added),
            *((name, "there already", "") for name in self.there),
            *((name, "refused", reason) for name, reason in self.refused.items()),
        ]

    def text(self) -> str:
        """The counts, and a line for each of some files that were refused."""
        lines = [
            f"{len(self.added)} files of {len(self.models)} models added from {self.repo}, "
            f"{len(self.there)} there already, {len(self.refused)} refused"
        ]
        for name, reason in list(self.refused.items())[:_NAMED]:
            lines.append(f"refused: {name}: {reason}")
        if (more := len(self.refused) - _NAMED) > 0:
            lines.append(f"refused: and {more} more")
        return "".join(f"{line}\n" for line in lines)


@dataclass
class _Arrivals:
    """What a call has done so far."""

    added: list[str] = field(default_factory=list)
    there: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    models: set[str] = field(default_factory=set)


def pull(
    path: Path, repo: str, *, models: Sequence[Checkpoint] = (), revision: str | None = None
) -> Pulled:
    """Adds to a store what a repository holds and the store lacks; nothing is overwritten.

    Args:
      path: the store's folder, which is made with the repository's texts if it is not there.
      repo: the repository, `org/name`.
      models: references and patterns; empty: all.
      revision: a branch, tag or commit of the repository; None: main.

    Raises InputError if there is no such repository, or if it is of other texts than the store, and
    JaxmapError if the network or the disk fails; what has come by then stays.
    """
    repository = Repository(repo)
    with quiet_client():
        contents = repository.contents(revision)
        if contents is None:
            raise missing(repo)
        texts = shared_texts(repository, contents)
        if texts is None:
            raise InputError(f"holds no store (no {TEXTS})", field="repo", value=repo)
        store = Store.create(path, texts)
        found = fetch_into(store, repository, contents, models)
    return Pulled(
        store,
        repo,
        contents.commit,
        tuple(found.added),
        tuple(found.there),
        found.refused,
        tuple(sorted(found.models)),
    )


def shared_texts(repository: Repository, contents: RepositoryContents) -> TextFacts | None:
    """The texts of a repository; None if it is no store. Raises InputError for a damaged file."""
    if TEXTS not in contents.files:
        return None
    with temporary_folder() as folder:
        path = repository.download(TEXTS, contents.commit, folder)
        try:
            texts = text_facts.read(path)
            given = (texts.fingerprint, texts.source, texts.unordered_fingerprint)
            lines = all(isinstance(one, str) and one.isprintable() for one in given)
            sizes = texts.text_bytes
            if not lines or sizes.ndim != 1 or not len(sizes) or not (sizes > 0).all():
                raise InputError("its texts are none")
        except InputError as error:
            raise InputError(
                f"its {TEXTS} is damaged", field="repo", value=repository.name
            ) from error
    return TextFacts(
        texts.fingerprint,
        public_source(texts.source),
        texts.text_bytes,
        texts.measured,
        texts.unordered_fingerprint,
    )


def fetch_into(
    store: Store,
    repository: Repository,
    contents: RepositoryContents,
    models: Sequence[Checkpoint] = (),
    *,
    vectors_only: bool = False,
) -> _Arrivals:
    """Downloads what the store lacks, checks it, and keeps what is valid.

    With `vectors_only`, only what maps need.
    """
    found = _Arrivals()
    names: dict[str, SharedName] = {}
    for name in sorted(contents.files):
        if not name.startswith((f"{FOLDER}/", f"{TOKEN_FOLDER}/")):
            continue  # its page, pictures, whatever else a repository holds
        parsed = parse_name(name)
        if parsed is None:
            found.refused[name] = "no result is called so"
        elif not (vectors_only and parsed.statistics):
            names[name] = parsed
    names = _asked(names, models, repository.name)
    here = _statistics_here(store)
    wanted: list[str] = []
    for name, parsed in names.items():
        has = here.get(parsed.key, frozenset())
        is_here = parsed.statistics <= has if parsed.statistics else not has.isdisjoint(VECTORS)
        (found.there if is_here else wanted).append(name)
    with (
        temporary_folder() as folder,
        progress(len(wanted), "pull", "file", disable=not wanted) as bar,
    ):
        for name, path in _downloads(wanted, repository, contents.commit, folder):
            _take(path, name, store, models, found)
            path.unlink()
            bar.update()
    if not vectors_only:
        added, refused = fetch_spans(store, repository, contents)
        found.added += added
        found.refused |= refused
    return found


def _downloads(
    names: Iterable[str], repository: Repository, commit: str, folder: Path
) -> Iterator[tuple[str, Path]]:
    """Files in order, some of them on their way at any time."""
    waiting: list[tuple[str, Future[Path]]] = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        try:
            for name in names:
                waiting.append((name, pool.submit(repository.download, name, commit, folder)))
                if len(waiting) == 2 * _AT_ONCE:
                    first, future = waiting.pop(0)
                    yield first, future.result()
            for name, future in waiting:
                yield name, future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _take(
    path: Path, name: str, store: Store, models: Sequence[Checkpoint], found: _Arrivals
) -> None:
    try:
        entry, content = arrived(path, name, store.texts)
    except NotSharedError as error:
        found.refused[name] = str(error)
        return
    one = entry.identity
    if models and not any(means(model, (one.ref, one.revision)) for model in models):
        return  # its file's name only looked like one that was asked for
    target = store.path / name
    if create_atomic(target, content):
        found.added.append(name)
        found.models.add(checkpoint_name(one.ref, one.revision))
    elif target in store.corrupt():  # which counts as absent
        write_atomic(target, content)
        found.added.append(name)
        found.models.add(checkpoint_name(one.ref, one.revision))
    else:
        found.there.append(name)


def _statistics_here(store: Store) -> dict[str, frozenset[str]]:
    """The statistics that the store has, by the first digits of results' keys."""
    return {entry.identity.key[:16]: entry.statistics for entry in store.entries()}


def _asked(
    names: dict[str, SharedName], models: Collection[Checkpoint], repo: str
) -> dict[str, SharedName]:
    """The files whose names look like those of the models; InputError for a model with none."""
    if not models:
        return names
    asked: dict[str, SharedName] = {}
    for model in models:
        text = checkpoint_name(*model)
        # As file names are made of labels, with what patterns are made of left in.
        slug = re.sub(r"[^A-Za-z0-9._@+#=*?\[\]-]+", "-", text).strip("-.")
        found = {
            name: one
            for name, one in names.items()
            if len(one.model) >= 99
            or fnmatch.fnmatchcase(one.model, slug)
            or fnmatch.fnmatchcase(one.model, f"{slug}[+#]*")
        }
        if not found:
            near = difflib.get_close_matches(slug, {one.model for one in names.values()}, 3, 0.3)
            hint = f" (nearest: {', '.join(near)})" if near else ""
            raise InputError(f"{repo} holds nothing of {text}{hint}", field="models")
        asked |= found
    return asked

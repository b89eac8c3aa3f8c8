"""`jaxmap push`: a store, or a part of it, into a dataset repository on the Hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from jaxmap.atomic import temporary_folder, write_atomic
from jaxmap.errors import InputError, JaxmapError
from jaxmap.progress import progress
from jaxmap.results import Table
from jaxmap.sharing.dataset_card import CARD, make_card
from jaxmap.sharing.pull import TEXTS, fetch_into, shared_texts
from jaxmap.sharing.redaction import PublicNames, check_unique, public_identity, public_source
from jaxmap.sharing.repository import MovedError, Repository, RepositoryContents, quiet_client
from jaxmap.sharing.shared_files import SharedFile, content_of, files_of
from jaxmap.sharing.shared_spans import spans_of
from jaxmap.store import Entry, Identity, Store, text_facts
from jaxmap.store.checkpoints import Checkpoint, matching
from jaxmap.store.record import checkpoint_name

_FILES = 100  # of a commit, and
_BYTES = 64 << 20  # its bytes, as far as a file does not have more
_TURNS = 8  # commits of others that may come first
_NAMED = 5  # models that a message names


@dataclass(frozen=True)
class Pushed(Table):
    """What went to a repository.

    Fields:
      repo: the repository.
      private: whether it can be seen by its owners alone.
      created: whether this call made it.
      sent: the names of files that went there.
      there: the names of files that were there already.
      withheld: models that stayed here because they have no public name.
      models: the public names of the models of the files.
    """

    file = "pushed.csv"
    columns = ("file", "state")

    repo: str
    private: bool
    created: bool
    sent: tuple[str, ...]
    there: tuple[str, ...]
    withheld: tuple[str, ...]
    models: tuple[str, ...]

    def rows(self) -> Sequence[tuple[str, str]]:
        """One row per file of results, and per model that stayed here."""
        return [
            *((name, "sent") for name in self.sent),
            *((name, "there already") for name in self.there),
            *((name, "stayed here") for name in self.withheld),
        ]

    def text(self) -> str:
        """The counts, who can see the repository, and what stayed here."""
        seen = "private" if self.private else "public"
        new = "new " if self.created else ""
        lines = [
            f"{len(self.sent)} files of {len(self.models)} models pushed to the {new}{seen} "
            f"dataset {self.repo}, {len(self.there)} there already"
        ]
        if self.created and self.private:
            lines.append("only its owners can see it: `public` makes it for everybody")
        if self.withheld:
            some = ", ".join(self.withheld[:_NAMED])
            more = ", ..." if len(self.withheld) > _NAMED else ""
            lines.append(
                f"{len(self.withheld)} models without a public name stayed here ({some}{more}): "
                "name them with `names`, or push them under the last part of their path with "
                "`local`"
            )
        return "".join(f"{line}\n" for line in lines)


def push(
    store: Store,
    repo: str,
    *,
    models: Sequence[Checkpoint] = (),
    names: Iterable[str] = (),
    local: bool = False,
    public: bool = False,
    card: bool = True,
    commit_files: int = _FILES,
) -> Pushed:
    """Puts the results of a store that a repository lacks there, and renews its card.

    Arguments are those of `jaxmap.push`, with references and revisions as `models`, and
    `commit_files`, the most files of a commit.
    """
    repository, public_names = Repository(repo), PublicNames.read(names, local=local)
    files, withheld = _files(store, models, public_names)
    texts = replace(store.texts, source=public_source(store.texts.source))
    with quiet_client():
        contents = repository.contents()
        created = contents is None
        if contents is None:
            repository.create(private=not public)
        sent: list[str] = []
        for _ in range(_TURNS):
            try:
                contents = _contents(repository)
                _check_texts(repository, contents, store)
                _send(repository, contents, files, store, public_names, texts, sent, commit_files)
                break
            except MovedError:
                continue
        else:
            raise JaxmapError(f"{repo}: others write to it all the time; run this again later")
        there = [file.name for file in files if file.name not in set(sent)]
        if card and (sent or CARD not in contents.files):
            _renew_card(repository, files, store, public_names, texts)
    labels = {checkpoint_name(file.identity.ref, file.identity.revision) for file in files}
    return Pushed(
        repo,
        contents.private,
        created,
        tuple(sent),
        tuple(there),
        withheld,
        tuple(sorted(labels)),
    )


def _contents(repository: Repository) -> RepositoryContents:
    contents = repository.contents()
    if contents is None:
        raise JaxmapError(f"{repository.name}: was made, and is not there; run this again")
    return contents


def _check_texts(repository: Repository, contents: RepositoryContents, store: Store) -> None:
    theirs = shared_texts(repository, contents)
    if theirs is not None and theirs.fingerprint != store.texts.fingerprint:
        what = text_facts.difference(theirs, store.texts)
        raise InputError(
            f"holds results on {what} ({theirs.fingerprint[:12]}, {len(theirs.text_bytes)} "
            f"texts) than {store.path} ({store.texts.fingerprint[:12]}, "
            f"{len(store.texts.text_bytes)} texts): name another repository",
            field="repo",
            value=repository.name,
        )


def _files(
    store: Store, models: Sequence[Checkpoint], names: PublicNames
) -> tuple[list[SharedFile], tuple[str, ...]]:
    """The files of what is asked for, and the models without a public name."""
    entries = store.records()
    if models:
        known = {_checkpoint(entry) for entry in entries}
        wanted = {found for one in models for found in matching(one, known, store.path)}
        entries = [entry for entry in entries if _checkpoint(entry) in wanted]
    pairs: list[tuple[Entry, Identity]] = []
    withheld: dict[str, None] = {}
    for entry in entries:
        identity = public_identity(entry, names)
        if identity is None:
            withheld[checkpoint_name(*_checkpoint(entry))] = None
        else:
            pairs.append((entry, identity))
    if not pairs or (models and withheld):
        if not withheld:
            raise InputError(f"{store.path}: holds no results", field="store")
        raise InputError(
            f"{store.path}: {', '.join(list(withheld)[:_NAMED])} has no public name: give one with "
            "`names`, FOLDER=org/name, or push models of folders under the last part of their "
            "path with `local`"
        )
    check_unique(pairs)
    return [file for pair in pairs for file in files_of(*pair)], tuple(withheld)


def _checkpoint(entry: Entry) -> Checkpoint:
    return entry.identity.ref, entry.identity.revision


def _send(
    repository: Repository,
    contents: RepositoryContents,
    files: Sequence[SharedFile],
    store: Store,
    names: PublicNames,
    texts: text_facts.TextFacts,
    sent: list[str],
    commit_files: int,
) -> None:
    """Commits what is not there, some files at a time; adds their names to `sent`.

    Last come the bytes of tokens, without which log-probabilities of tokens cannot be read.
    """
    lacking = [file for file in files if file.name not in contents.files and file.name not in sent]
    parent = None
    first: dict[str, bytes] = {}
    if TEXTS not in contents.files and lacking:
        # Whoever says first of which texts the repository is has said it.
        first, parent = {TEXTS: text_facts.encode(texts)}, contents.commit
    with progress(len(lacking), "push", "file", disable=not lacking) as bar:
        for group in _groups(lacking, store, names, commit_files):
            results = len({name.split("+")[0] for name in group})
            plural = "s" if results > 1 else ""
            repository.commit({**first, **group}, f"Add {results} result{plural}", parent)
            first, parent = {}, None
            sent += group
            bar.update(len(group))
    spans = spans_of((file.entry for file in files), store)
    missing = [name for name in spans if name not in contents.files and name not in sent]
    if missing:
        repository.commit(
            {name: spans[name].read_bytes() for name in missing}, "Add the bytes of tokens", None
        )
        sent += missing


def _groups(
    files: Iterable[SharedFile], store: Store, names: PublicNames, commit_files: int
) -> Iterator[dict[str, bytes]]:
    group: dict[str, bytes] = {}
    for file in files:
        group[file.name] = content_of(file, store, names)
        if len(group) == commit_files or sum(map(len, group.values())) >= _BYTES:
            yield group
            group = {}
    if group:
        yield group


def _renew_card(
    repository: Repository,
    files: Sequence[SharedFile],
    store: Store,
    names: PublicNames,
    texts: text_facts.TextFacts,
) -> None:
    """Draws the card of all that the repository holds, of others too, and commits it."""
    with temporary_folder() as folder:
        shown = Store.create(folder / "store", texts)
        for file in files:
            if file.is_main:
                write_atomic(shown.path / file.name, content_of(file, store, names), durable=False)
        for _ in range(_TURNS):
            contents = _contents(repository)
            fetch_into(shown, repository, contents, vectors_only=True)
            before = ""
            if CARD in contents.files:
                path = repository.download(CARD, contents.commit, folder)
                before = path.read_text("utf-8", errors="replace")
            made = make_card(shown, repository.name, before)
            try:
                repository.commit(made, "Renew the card", contents.commit)
                return
            except MovedError:
                continue
    raise JaxmapError(f"{repository.name}: its card is not renewed: others write to it; run again")

"""Stores on the Hub: push, pull."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import TYPE_CHECKING

from jaxmap.api.arguments import (
    Models,
    Names,
    StoreLike,
    check_new_store,
    models_of,
    names_of,
    open_for_reading,
)
from jaxmap.store import Store

if TYPE_CHECKING:
    from jaxmap.sharing.pull import Pulled
    from jaxmap.sharing.push import Pushed
    from jaxmap.store.checkpoints import Checkpoint


def push(
    store: StoreLike,
    repo: str,
    *,
    models: Models | None = None,
    names: Names = (),
    local: bool = False,
    public: bool = False,
    card: bool = True,
) -> Pushed:
    """Puts the results of a store into a dataset repository on the Hub, which is made if need be.

    What is there already is not sent again, so that a call that was interrupted resumes. Results
    leave without paths, users' and hosts' names: a model of a folder stays here unless it has a
    public name. The texts themselves stay here; their fingerprint, number and bytes leave.

    Args:
      store: a folder, or a store that is open.
      repo: the repository, `org/name`. HF_TOKEN, or a login of the Hub's client, must allow writing
        to it.
      models: references, or patterns that match what the store holds, as of `forget`; None: all.
      names: public names of models of folders, "FOLDER=org/name"; and names or patterns that are
        public as they are, such as "org/*" for adapters and GGUF files that came from the Hub.
      local: whether models of folders without such a name leave under the last part of their path.
      public: whether a repository that this call makes can be seen by everybody; else by its
        owners. A repository that is there stays as it is.
      card: whether to renew the repository's card, README.md, with a map and a table of all that it
        holds; it needs the vectors that others pushed.

    Raises InputError if the repository holds results on other texts or cannot be written, or if one
    of `models` is unknown or has no public name; JaxmapError if the network fails.
    """
    from jaxmap.sharing.push import push as send

    return send(
        open_for_reading(store),
        repo,
        models=_checkpoints(models),
        names=names_of(names),
        local=local,
        public=public,
        card=card,
    )


def pull(
    store: StoreLike, repo: str, *, models: Models | None = None, revision: str | None = None
) -> Pulled:
    """Adds the results of a dataset repository on the Hub to a store.

    Nothing is overwritten: what the store holds is passed over, and what is damaged, of other texts
    or no result is refused by name while the rest arrives.

    Args:
      store: a folder, made with the repository's texts if it is not there, or a store that is open.
      repo: the repository, `org/name`.
      models: references, or patterns that match what the repository holds; None: all.
      revision: a branch, tag or commit of the repository; None: main.

    Raises InputError if there is no such repository, or if it is of other texts than the store;
    JaxmapError if the network or the disk fails, when what has come by then stays.
    """
    from jaxmap.sharing.pull import pull as fetch

    check_new_store(store)
    path = store.path if isinstance(store, Store) else FilePath(store)
    return fetch(path, repo, models=_checkpoints(models), revision=revision)


def _checkpoints(models: Models | None) -> list[Checkpoint]:
    if models is None:
        return []
    return [(ref.name, ref.revision) for ref in models_of(models, find_them=False)]

"""Gives a folder one name however its path is written: `base`, `./base`, `/abs/base`, a link."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from absl import logging

from jaxmap.checkpoint.refs import Ref, is_folder
from jaxmap.store import Store


def as_known(refs: Sequence[Ref], store: Store) -> list[Ref]:
    """Replaces references to folders by the names that the store, or an earlier one, has for them.

    A store distinguishes checkpoints by their references, so a folder under two names would be two
    models. References to the Hub are not changed. Each is returned once, in the order given.
    """
    if not any(is_folder(ref.name) for ref in refs):
        return list(dict.fromkeys(refs))
    first = {_place(ref): ref for ref in reversed([*_of_store(store), *refs])}
    found: dict[Ref, None] = {}
    for ref in refs:
        known = first[_place(ref)]
        if known != ref and known not in found:
            logging.info("%s is the same folder as %s, whose name is used", ref, known)
        found[known] = None
    return list(found)


def _of_store(store: Store) -> Iterable[Ref]:
    """The references with results or requests in the store, the oldest first."""
    names = dict.fromkeys(
        (entry.identity.ref, entry.identity.revision) for entry in store.records()
    )
    names |= dict.fromkeys((item.ref, item.revision) for item in store.asked())
    return [Ref(name, revision) for name, revision in names if is_folder(name)]


def _place(ref: Ref) -> tuple[str, str | None]:
    """The folder with links resolved, and the revision unless that is a subfolder."""
    if not is_folder(ref.name):
        return ref.name, ref.revision
    if ref.revision is not None and os.path.isdir(os.path.join(ref.name, ref.revision)):
        return os.path.realpath(os.path.join(ref.name, ref.revision)), None
    return os.path.realpath(ref.name), ref.revision

"""The checkpoints of a store that a reference or a pattern means."""

from __future__ import annotations

import difflib
import fnmatch
from collections.abc import Collection

from jaxmap.errors import InputError
from jaxmap.store.record import checkpoint_name

Checkpoint = tuple[str, str | None]  # a reference and a revision


def means(model: Checkpoint, other: Checkpoint) -> bool:
    """Whether a reference or pattern means a checkpoint."""
    (name, revision), (other_name, other_revision) = model, other
    return model == other or (
        fnmatch.fnmatchcase(other_name, name)
        and (revision is None) == (other_revision is None)
        and fnmatch.fnmatchcase(other_revision or "", revision or "")
    )


def matching(model: Checkpoint, known: Collection[Checkpoint], where: object) -> set[Checkpoint]:
    """The known checkpoints that a reference means; in it `*`, `?` and `[...]` match.

    `where` is what knows them, for messages. Raises InputError naming the nearest if there is none.
    """
    name, revision = model
    if model in known:
        return {model}
    if found := {other for other in known if means(model, other)}:
        return found
    text = checkpoint_name(name, revision)
    if any(other[0] == name for other in known):
        cure = f"write {name}@* for all of its revisions" if revision is None else ""
        others = [checkpoint_name(*other) for other in known if other[0] == name]
    else:
        cure, others = "", [checkpoint_name(*other) for other in known]
    near = difflib.get_close_matches(text, others, n=3, cutoff=0.3)
    hint = "; ".join(filter(None, (cure, f"nearest: {', '.join(near)}" if near else "")))
    raise InputError(
        f"{where} knows nothing of {text}" + (f" ({hint})" if hint else ""), field="models"
    )

"""Lists the checkpoints that match a pattern: `org/name@*`, `@stage1-*`, `org/name-*`.

Revisions are the branches and tags of a repository on the Hub or of a Git clone, or the subfolders
of a folder. It also checks that the revisions of a range exist.
"""

from __future__ import annotations

import fnmatch
import json
import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from jaxmap.checkpoint.refs import MOST_REFS, Ref, is_folder, parse_refs
from jaxmap.checkpoint.sources.types import nearest
from jaxmap.errors import InputError, JaxmapError
from jaxmap.naming import Names, natural_key, parse

# If more revisions of one model are named, they are checked before the first is fetched. If no more
# than these are missing, each fails when its turn comes.
FEW = 3

_PATTERN = re.compile(r"[*?\[]")
# Commits, full or abbreviated, and pull requests are not in a listing.
_UNLISTED = re.compile(r"[0-9a-f]{7,64}|refs/.*")
# The files by which a folder is recognised as a checkpoint.
_MARKS = ("config.json", "adapter_config.json", "*.gguf")


class Lookup:
    """Lists the revisions of models, each model once.

    Args:
      known: revisions of models on the Hub as of an earlier time: what stands for a listing where
        the network fails.

    `found` has what was listed on the Hub.
    """

    def __init__(self, known: Mapping[str, Sequence[str]] | None = None):
        self._known = known or {}
        self._listed: dict[str, list[str]] = {}
        self.found: dict[str, list[str]] = {}

    def revisions(self, name: str) -> list[str]:
        """As of `revisions`; raises as it does, where nothing is known of before."""
        if name not in self._listed:
            try:
                self._listed[name] = revisions(name)
            except InputError:
                raise
            except JaxmapError as error:
                if name not in self._known:
                    raise
                print(f"warning: {error}: the store's listing is used", file=sys.stderr)
                self._listed[name] = list(self._known[name])
            else:
                if not is_folder(name):
                    self.found[name] = self._listed[name]
        return self._listed[name]


def find(refs: Iterable[Ref], lookup: Lookup | None = None) -> list[Ref]:
    """Replaces patterns by the references that match them, each once; others stay as they are.

    In a revision, `*`, `?` and `[...]` match branches, tags and subfolders; in the name of a model
    on the Hub, the repositories of an organisation. The checkpoints of a run are in the order of
    training. A listing is requested only for patterns and for more than a few revisions of one
    model.

    Raises:
      InputError: for a pattern that matches nothing, and for a range of which more than a few
        revisions do not exist.
      JaxmapError: when the network fails.
    """
    lookup = lookup or Lookup()
    found: dict[Ref, None] = {}
    for ref in refs:
        for named in _repositories(ref):
            found |= dict.fromkeys(_revisions(named, lookup))
            if len(found) > MOST_REFS:
                raise InputError(
                    f"{ref}: names more than {MOST_REFS:,} models; narrow the pattern",
                    field="models",
                )
    _check(list(found), lookup)
    return list(found)


def thinned(refs: Sequence[Ref], every: int, names: Names) -> list[Ref]:
    """Every `every`-th checkpoint of each run, from the first, and the last; 0 or 1: all.

    Models that are not checkpoints of a run are kept.
    """
    runs: dict[str, list[tuple[int, Ref]]] = defaultdict(list)
    for ref in refs:
        name = names.parse(ref.name, ref.revision)
        if every > 1 and name.time is not None:
            runs[name.run_name].append((name.time, ref))
    left_out = set()
    for saved in runs.values():
        ordered = [ref for _, ref in sorted(saved, key=lambda one: one[0])]
        left_out |= set(ordered) - {*ordered[::every], ordered[-1]}
    return [ref for ref in refs if ref not in left_out]


def read_models_file(path: str | os.PathLike[str], first: int = 0) -> list[Ref]:
    """References and patterns from a file: a JSON list, or one per line; `#` begins a comment.

    Only the `first` ones are returned; 0: all. Raises InputError with the file's name.
    """
    path = Path(path).expanduser()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InputError(f"{path}: cannot be read: {reason}", field="models_file") from error
    if path.suffix == ".json":
        try:
            names = json.loads(text)
        except ValueError as error:
            raise InputError(f"{path}: not JSON: {error}", field="models_file") from error
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InputError(f"{path}: not a list of names", field="models_file")
    else:
        lines = (line.partition("#")[0].strip() for line in text.splitlines())
        names = [line for line in lines if line]
    if not names:
        raise InputError(f"{path}: names no model", field="models_file")
    return list(dict.fromkeys(ref for name in names[: first or None] for ref in parse_refs(name)))


def _repositories(ref: Ref) -> list[Ref]:
    """The models that match a pattern in a name."""
    if not _PATTERN.search(ref.name) or Path(ref.name).exists():
        return [ref]
    organisation, slash, name = ref.name.partition("/")
    if not slash or _PATTERN.search(organisation) or ref.name.startswith((".", "~")):
        raise InputError(
            f"{ref}: a pattern stands for repositories of one organisation, as in org/name-*",
            field="models",
        )
    from jaxmap.checkpoint.sources import hub

    there = hub.repositories(organisation)
    found = [one for one in there if fnmatch.fnmatchcase(one, f"{organisation}/{name}")]
    if not found:
        hint = nearest(ref.name, there)
        raise InputError(f"{ref}: matches no repository ({hint})", field="models")
    return [Ref(one, ref.revision) for one in sorted(found, key=natural_key)]


def _revisions(ref: Ref, lookup: Lookup) -> list[Ref]:
    """The checkpoints that match a pattern in a revision, by run and in the order of training."""
    if ref.revision is None or not _PATTERN.search(ref.revision):
        return [ref]
    if is_folder(ref.name) and (Path(ref.name) / ref.revision).is_dir():
        return [ref]  # a subfolder with such a character in its name
    there = lookup.revisions(ref.name)
    found = [name for name in there if fnmatch.fnmatchcase(name, ref.revision)]
    if not found:
        hint = nearest(ref.revision, there)
        raise InputError(f"{ref}: matches no branch, tag or subfolder ({hint})", field="models")
    return [Ref(ref.name, name) for name in in_time(ref.name, found)]


def in_time(name: str, found: Iterable[str]) -> list[str]:
    """Sorts revisions of one model by run, and in the order of training within a run.

    Revisions that are not checkpoints of a run come first.
    """

    def place(revision: str) -> tuple[object, ...]:
        named = parse(name, revision)
        time = -1 if named.time is None else named.time
        return named.time is not None, natural_key(named.run_name), time, natural_key(revision)

    return sorted(found, key=place)


def revisions(name: str) -> list[str]:
    """The branches and tags of a model on the Hub or in Git, or the checkpoints in a folder."""
    if not is_folder(name):
        from jaxmap.checkpoint.sources import hub

        return hub.revisions(Ref(name))
    from jaxmap.checkpoint.sources import folder, git  # with what reads checkpoints
    from jaxmap.checkpoint.sources.files import existing_folder

    base = existing_folder(Ref(name))

    found = {path.parent.relative_to(base).as_posix() for mark in _MARKS
             for path in (*base.glob(f"*/{mark}"), *base.glob(f"*/*/{mark}"))}  # fmt: skip
    if folder.is_hub_cache(base):
        found = set(folder.cached_revisions(base))
    elif git.is_clone(base):
        found |= set(git.revisions(base))
    return sorted(one for one in found if not one.startswith("."))


def _check(refs: Sequence[Ref], lookup: Lookup) -> None:
    """Raises InputError for ranges of which more than a few revisions do not exist."""
    wanted: dict[str, list[str]] = defaultdict(list)
    for ref in refs:
        if ref.revision is not None and not _UNLISTED.fullmatch(ref.revision):
            wanted[ref.name].append(ref.revision)
    for name, names in wanted.items():
        here = is_folder(name)
        if len(names) <= FEW or (here and not Path(name).is_dir()):
            continue
        there = set(lookup.revisions(name))
        missing = [
            one for one in names if one not in there and not (here and (Path(name) / one).is_dir())
        ]
        if len(missing) > FEW:
            some = ", ".join(missing[:FEW])
            raise InputError(
                f"{name}: {len(missing)} of the {len(names)} revisions named are not there "
                f"({some}, ...; {nearest(missing[0], there)}); {name}@* names those that are",
                field="models",
            )

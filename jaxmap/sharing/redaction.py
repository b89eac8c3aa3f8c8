"""What of a result may be published: public names, and facts without paths.

A folder is named by its path, which reveals the machine and its user. Such a model leaves under a
name that the user gives, or under the last part of its path if the user says so, or not at all.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Any

from jaxmap.checkpoint.refs import is_folder, is_hub_name
from jaxmap.errors import InputError
from jaxmap.store.record import Entry, Identity, Provenance, checkpoint_name

# Commits of which it is known that they are not of a folder: the Hub's, and of released scores. A
# folder has "sha256:...", and so have adapters and GGUF files wherever they are.
_PUBLIC_COMMIT = re.compile(r"[0-9a-f]{40}|released-[0-9a-f]+")
_REVISION = re.compile(r"[\w.+=@:-]{1,255}", re.ASCII)

# The facts about a model that may leave, with their types. Names of other models are checked one
# by one.
MODEL_FACTS: dict[str, type] = {
    "model_type": str,
    "num_parameters": int,
    "stored_dtype": str,
    "dense_up_to": int,
    "format": str,
    "num_bytes": int,
    "file_type": str,
    "bits": int,
    "base_relation": str,
}


@dataclass(frozen=True)
class PublicNames:
    """The names under which models leave.

    Fields:
      given: the public names of models, by reference.
      as_they_are: patterns of references that are public names.
      local: whether models of folders leave under the last part of their paths.
    """

    given: dict[str, str]
    as_they_are: tuple[str, ...] = ()
    local: bool = False

    @classmethod
    def read(cls, names: Iterable[str], *, local: bool) -> PublicNames:
        """Reads `FOLDER=org/name` and patterns of names that are public as they are.

        Raises InputError for what is no name of the Hub's form.
        """
        given: dict[str, str] = {}
        as_they_are: list[str] = []
        for text in names:
            ref, equals, name = text.rpartition("=")
            if not equals:
                as_they_are.append(text)
                continue
            if not ref or not is_hub_name(name):
                raise InputError(
                    f"{text!r}: write FOLDER=org/name, with a name as the Hub has them",
                    field="names",
                )
            given[ref.rstrip("/")] = name
        return cls(given, tuple(as_they_are), local)

    def of(self, ref: str, commit: str) -> str | None:
        """The public name of a model; None if it has none and stays here."""
        if ref in self.given:
            return self.given[ref]
        if is_hub_name(ref) and any(fnmatch.fnmatchcase(ref, one) for one in self.as_they_are):
            return ref
        if is_hub_name(ref) and not is_folder(ref) and _PUBLIC_COMMIT.fullmatch(commit):
            return ref
        last = PurePath(ref).name
        return last if self.local and is_hub_name(last) else None

    def of_other(self, name: str) -> str | None:
        """The public name of a model that a result only mentions; None if it has none."""
        ref, at, revision = name.partition("@")
        if ref in self.given:
            return self.given[ref] + at + revision
        is_public = is_hub_name(ref) and "/" in ref and not is_folder(ref)
        return name if is_public and (not at or _REVISION.fullmatch(revision)) else None


def public_identity(entry: Entry, names: PublicNames) -> Identity | None:
    """The identity of a result under its public name; None if it stays here."""
    one = entry.identity
    name = names.of(one.ref, one.commit)
    if name is None:
        return None
    if name == one.ref:
        return one
    # The revision of a folder may be a path in it.
    revision = None if one.revision is None else PurePath(one.revision).name
    return replace(one, ref=name, revision=revision)


def check_unique(pairs: Iterable[tuple[Entry, Identity]]) -> None:
    """Raises InputError if two checkpoints of a store would have one public name."""
    seen: dict[tuple[str, str | None], Entry] = {}
    for entry, one in pairs:
        other = seen.setdefault((one.ref, one.revision), entry).identity
        if (other.ref, other.revision) != (entry.identity.ref, entry.identity.revision):
            raise InputError(
                f"{checkpoint_name(other.ref, other.revision)} and "
                f"{checkpoint_name(entry.identity.ref, entry.identity.revision)} would both be "
                f"{checkpoint_name(one.ref, one.revision)}: name them, FOLDER=org/name",
                field="names",
            )


def public_provenance(provenance: Provenance, names: PublicNames) -> Provenance:
    """How a result was made, without paths of this machine."""
    facts = provenance.model
    model: dict[str, Any] = {
        key: facts[key] for key, kind in MODEL_FACTS.items() if isinstance(facts.get(key), kind)
    }
    bases = facts.get("base", [])
    bases = [names.of_other(one) for one in bases if isinstance(one, str)]
    if public := [one for one in bases if one is not None]:
        model["base"] = public
    tokenizer = facts.get("tokenizer")
    if isinstance(tokenizer, str) and (name := names.of_other(tokenizer)) is not None:
        model["tokenizer"] = name
    if isinstance(facts.get("released"), str):
        model["released"] = PurePath(facts["released"]).name
    return replace(provenance, files=(), model=model)


def public_source(source: str) -> str:
    """The last part of the path of the texts."""
    return re.split(r"[\\/]", source.rstrip("\\/"))[-1]

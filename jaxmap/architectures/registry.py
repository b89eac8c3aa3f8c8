"""Finds the pages of this package and those that other packages add.

A package adds families by an entry point of the group `jaxmap.families`, which names a module with
a dict FAMILIES or such a dict itself.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from functools import cache
from importlib import metadata
from types import ModuleType

import jaxmap.architectures as package
from jaxmap.architectures.config import Config
from jaxmap.architectures.family import Family
from jaxmap.architectures.refused import REASONS
from jaxmap.errors import InputError

ENTRY_POINTS = "jaxmap.families"


def _pages() -> Iterator[tuple[str, Mapping[str, Family]]]:
    """(origin, families) of each page, in alphabetical order."""
    for module in sorted(pkgutil.iter_modules(package.__path__, f"{package.__name__}.")):
        page = importlib.import_module(module.name)
        if hasattr(page, "FAMILIES"):
            yield module.name, page.FAMILIES
    for entry in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda e: e.value):
        page = entry.load()
        found = page.FAMILIES if isinstance(page, ModuleType) else page
        yield f"entry point {entry.name} = {entry.value}", found


@cache
def families() -> dict[str, Family]:
    """All families by `model_type`.

    Raises InputError if two pages have the same type, or if an entry point provides something
    other than families.
    """
    found: dict[str, Family] = {}
    source: dict[str, str] = {}
    for where, page in _pages():
        for kind, family in page.items():
            if not isinstance(family, Family):
                raise InputError(f"{where}: {kind!r} is a {type(family).__name__}, not a Family")
            if kind in found:
                raise InputError(f"{where}: {kind!r} has a page already: {source[kind]}")
            found[kind], source[kind] = family, where
    return found


def refused() -> dict[str, str]:
    """Types of transformers that have no page -> the reason, in alphabetical order."""
    return {kind: REASONS[kind] for kind in sorted(REASONS) if kind not in families()}


def type_of(config: Config) -> str:
    """What a config.json calls its architecture.

    The value of model_type; for a language model among other parts, such as a vision tower, both
    values with a slash between: "mistral3/mistral".
    """
    kind = config["model_type"]
    family = families().get(kind) if isinstance(kind, str) else None
    if family is None or family.around is None:
        return kind
    inside = objects_of_text(config, family)
    inner = inside[-1].peek("model_type") if inside else None
    return f"{kind}/{inner or family.text_type}"


def objects_of_text(config: Config, family: Family) -> list[Config]:
    """The objects around and of the language model in a config.json, the latter last.

    The list is empty if config.json has its keys at the top level.
    """
    paths = (config.path(keys) for keys in family.text_keys)
    return next((objects for objects in paths if objects), [])


def family_named(name: str) -> Family:
    """The page for what `type_of` calls an architecture."""
    outer, _, inner = name.partition("/")
    family = families()[outer]
    return family if family.around is None else family.around(inner)


def family_of(config: Config) -> Family:
    """The family of a config.json.

    Raises InputError for a type without a page: with the reason if it is one of `refused`, else
    with the known types.
    """
    kind = config["model_type"]
    if kind not in families():
        known = sorted(families())
        near = difflib.get_close_matches(str(kind), known, 3, 0.4)
        nearest = f"; nearest: {', '.join(near)}" if near else ""
        reason = refused().get(kind) if isinstance(kind, str) else None
        if reason is not None:
            raise InputError(
                f"{config.where}: model type {kind!r} has no page ({reason}); try transformers "
                "with `engine=torch`"
            )
        raise InputError(
            f"{config.where}: unknown model type {kind!r}{nearest}; transformers may know it: "
            f"score it with `engine=torch`; known: {', '.join(known)}"
        )
    return family_named(type_of(config))

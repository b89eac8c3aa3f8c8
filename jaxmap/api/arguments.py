"""What users may write for stores, texts, models and lists of names, read in one place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any, Protocol, TypeAlias, TypeVar, runtime_checkable

from jaxmap.checkpoint.listing import find, read_models_file
from jaxmap.checkpoint.refs import Ref, parse_ref, parse_refs
from jaxmap.corpus.textfiles import TextRecord, plain_fields, to_record
from jaxmap.corpus.texts import TextSet, load_texts
from jaxmap.errors import InputError
from jaxmap.output_paths import check_folder
from jaxmap.store import Store
from jaxmap.store.store_path import check_new


@runtime_checkable
class HasTextSet(Protocol):
    """What holds a text set, as what `texts` returns does."""

    @property
    def text_set(self) -> TextSet:
        """The texts of the result."""


Path: TypeAlias = str | os.PathLike[str]
StoreLike: TypeAlias = Store | Path
# One reference or pattern, or several; `Ref` is what `parse_refs` gives.
Models: TypeAlias = str | os.PathLike[str] | Ref | Iterable[str | os.PathLike[str] | Ref]
# A file, a text set, or the texts themselves: strings, (prompt, response) pairs, or rows as of a
# .jsonl file.
Texts: TypeAlias = (
    TextSet
    | HasTextSet
    | Path
    | Iterable[str]
    | Iterable[tuple[str, str]]
    | Iterable[Mapping[str, Any]]
)
Names: TypeAlias = str | Iterable[str]

T = TypeVar("T")


def open_for_reading(store: StoreLike) -> Store:
    """The store itself, or the one in a folder; InputError where there is none."""
    return store if isinstance(store, Store) else Store.open(store)


def check_new_store(store: StoreLike) -> None:
    """Raises InputError where a store neither is nor can be made; nothing is left behind.

    For a look at the path before the network is asked or a model is read.
    """
    if not isinstance(store, Store):
        check_new(FilePath(store))
        check_folder(store, "store")


def open_for_writing(store: StoreLike, texts: TextSet) -> Store:
    """The store of these texts, made if it is not there; InputError if it is of other texts."""
    return Store.create(store.path if isinstance(store, Store) else store, texts)


def models_of(
    models: Models | None, models_file: Path | None = None, *, find_them: bool = True
) -> list[Ref]:
    """The references, each once, in their order; those of a file come after the others.

    In strings braces expand and commas separate; a `pathlib.Path` is one reference as it stands.
    Patterns such as `org/name@stage1-*` become what they match on the Hub or in a folder, unless
    `find_them` is false.
    """
    refs = {} if models is None else dict.fromkeys(_written(models))
    if models_file is not None:
        refs |= dict.fromkeys(read_models_file(models_file))
    if not refs:
        raise InputError("names no model; give at least one", field="models")
    return find(refs) if find_them else list(refs)


def _written(models: Models) -> list[Ref]:
    if isinstance(models, str | os.PathLike | Ref):
        models = [models]
    refs: dict[Ref, None] = {}
    for one in _all(models, "models", "references"):
        if isinstance(one, Ref):
            found = [one]
        elif isinstance(one, str):
            found = parse_refs(one)
        elif isinstance(one, os.PathLike):
            found = [parse_ref(os.fspath(one))]
        else:
            raise InputError(f"{one!r} is not a reference, which is a string", field="models")
        refs |= dict.fromkeys(found)
    return list(refs)


def texts_of(texts: Texts, limit: int | None = None) -> TextSet:
    """A text set from a file's path or from the texts themselves; a single string is a path.

    Texts of a list are strings, (prompt, response) pairs or rows with `text`, or with `prompt` and
    `response`; all of one kind. Raises InputError for anything else.
    """
    if isinstance(texts, TextSet):
        return texts
    if isinstance(texts, HasTextSet):
        return texts.text_set
    if isinstance(texts, str | os.PathLike):
        return load_texts(texts, limit)
    rows = [_row(one, number) for number, one in enumerate(_all(texts, "texts", "texts"), 1)]
    if not rows:
        raise InputError("there are none; scoring needs at least one", field="texts")
    paired = rows[0].prompt is not None
    if any((row.prompt is not None) != paired for row in rows):
        raise InputError("some have a prompt and some have none; give all or none", field="texts")
    rows = rows[:limit]
    return TextSet(
        tuple(row.text for row in rows),
        tuple(row.prompt or "" for row in rows) if paired else None,
        source=f"a list of {len(rows)}",
        fields=tuple(plain_fields(row.fields) for row in rows),
    )


def names_of(names: Names) -> tuple[str, ...]:
    """A list of names; a single string may hold several, separated by commas."""
    if isinstance(names, str):
        return tuple(part for part in (one.strip() for one in names.split(",")) if part)
    return tuple(names)


def _row(one: Any, number: int) -> TextRecord:
    where = f"item {number}"
    if isinstance(one, str):
        return TextRecord(where, one, None)
    if isinstance(one, Mapping):
        return to_record("texts", where, dict(one))
    if isinstance(one, tuple | list) and len(one) == 2 and all(isinstance(s, str) for s in one):
        return TextRecord(where, one[1], one[0])
    raise InputError(
        f"item {number} is neither a string nor a pair (prompt, response): {one!r:.60}",
        field="texts",
    )


def _all(values: Iterable[T], field: str, what: str) -> list[T]:
    try:
        return list(values)
    except TypeError:
        raise InputError(f"{values!r:.60} is not a list of {what}", field=field) from None

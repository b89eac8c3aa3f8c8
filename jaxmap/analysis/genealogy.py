"""Parents and types of models: from model cards on the Hub, or from files that say.

A store keeps what it knows in STORE/genealogy/: cards.json (answers of the Hub, each asked once),
parents.json and types.json (from a released folder). Layouts, as published by Oyama et al.:

    parents  {"org/child": "org/parent", "org/merge": ["org/one", "org/two"], "org/base": null}
    types    {"org/model": "llama-2"}
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from absl import logging

from jaxmap.atomic import write_atomic
from jaxmap.checkpoint.refs import Ref, is_folder
from jaxmap.checkpoint.sources.card import card_of
from jaxmap.checkpoint.sources.retry import RefusedError, Retry, attempt, first_line
from jaxmap.errors import InputError, JaxmapError
from jaxmap.progress import progress
from jaxmap.store.record import Entry

Parents = dict[str, tuple[str, ...]]  # () for a model known to have none

FOLDER = "genealogy"


def read_parents(path: str | os.PathLike[str]) -> Parents:
    """Reads a file of parents; InputError when it is not of the layout above."""
    found: Parents = {}
    for child, parent in _read_object(Path(path)).items():
        if parent is None:
            found[child] = ()
        elif isinstance(parent, str):
            found[child] = (parent,)
        elif isinstance(parent, list) and all(isinstance(one, str) for one in parent):
            found[child] = tuple(parent)
        else:
            raise InputError(
                f"{path}: {child!r}: the parent has to be a name, a list of names or null"
            )
    return found


def read_types(path: str | os.PathLike[str]) -> dict[str, str]:
    """Reads a file of model types, without those that are null; InputError when it is not of the
    layout above."""
    types = _read_object(Path(path))
    for model, kind in types.items():
        if kind is not None and not isinstance(kind, str):
            raise InputError(f"{path}: {model!r}: the type has to be a string or null")
    return {model: kind for model, kind in types.items() if kind is not None}


def save_known(
    store_path: Path, parents: Mapping[str, tuple[str, ...]] | None, types: Mapping[str, str] | None
) -> None:
    """Keeps parents and types in a store's folder, in the published layouts."""
    if parents is not None:
        plain = {child: _plain(names) for child, names in parents.items()}
        _write(store_path / FOLDER / "parents.json", plain)
    if types is not None:
        _write(store_path / FOLDER / "types.json", dict(types))


def known_parents(store_path: Path) -> Parents | None:
    """Parents that came with the store's results; None when none did."""
    path = store_path / FOLDER / "parents.json"
    return read_parents(path) if path.exists() else None


def parents_of(
    store_path: Path,
    models: Iterable[str],
    override: str | os.PathLike[str] | None = None,
    ask: Callable[[str], tuple[str, ...]] | None = None,
    recorded: Mapping[str, tuple[str, ...]] | None = None,
) -> Parents:
    """Parents of models, from the first of these that knows: the file `override`, the store,
    what was `recorded` with the results (an adapter's base, a card beside the files), the model's
    card on the Hub (`base_model`; the answer is kept in the store).

    Folders have no card. Offline, and for models that the Hub does not give out, nothing is known
    and nothing is kept; a warning says how many. `ask` replaces the Hub.
    """
    models = list(dict.fromkeys(models))
    parents: Parents = {}
    path = store_path / FOLDER / "cards.json"
    sources = [read_parents(path) if path.exists() else {}, dict(recorded or {})]
    sources.append(known_parents(store_path) or {})
    sources.append(read_parents(override) if override is not None else {})
    for source in sources:  # later ones win
        parents.update({model: source[model] for model in models if model in source})
    unknown = [model for model in models if model not in parents and not is_folder(model)]
    if not unknown:
        return parents
    if ask is None:
        if _is_offline():
            logging.warning(
                "parents of %d models are not known: offline (HF_HUB_OFFLINE); name a file of them "
                "as `parents`",
                len(unknown),
            )
            return parents
        ask = _ask_hub
    cards, refused = dict(sources[0]), []
    try:
        for model in progress_over(unknown):
            try:
                cards[model] = parents[model] = ask(model)
            except InputError as error:
                refused.append(str(error))
    except JaxmapError as error:
        logging.warning("parents: %s; only those known so far are used", error)
    finally:
        if cards != sources[0]:
            _write(path, {child: _plain(names) for child, names in sorted(cards.items())})
    if refused:
        logging.warning(
            "parents of %d models are not known, for example: %s", len(refused), refused[0]
        )
    return parents


def types_of(store_path: Path, entries: Iterable[Entry]) -> dict[str, str]:
    """Type of each model by its name: as the store's types.json says, else `model_type`."""
    path = store_path / FOLDER / "types.json"
    known = read_types(path) if path.exists() else {}
    types = {}
    for entry in entries:
        ref = entry.identity.ref
        kind = known.get(ref) or entry.provenance.model.get("model_type")
        if kind:
            types[ref] = str(kind)
    return types


def progress_over(models: list[str]) -> Iterable[str]:
    """A bar over models whose cards are read."""
    with progress(len(models), "model cards", "model", leave=False) as bar:
        for model in models:
            yield model
            bar.update()


def base_models(card: Mapping[str, object] | None) -> tuple[str, ...]:
    """What a model card's metadata names as `base_model`: none, one, or several (a merge)."""
    return card_of(card).base_models


def generations(num_models: int, pairs_P2: np.ndarray) -> np.ndarray:
    """1 for a model without a parent, 2 for its children, and so on; int64 [K].

    The way from the root is the longest one. Models that are each other's ancestors count as if
    the circle were cut after as many steps as there are models.
    """
    generation_K = np.ones(num_models, np.int64)
    for _ in range(num_models):
        before = generation_K.copy()
        np.maximum.at(generation_K, pairs_P2[:, 1], generation_K[pairs_P2[:, 0]] + 1)
        if np.array_equal(before, generation_K):
            break
    return generation_K


def _ask_hub(model: str) -> tuple[str, ...]:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError

    def request():
        return HfApi().model_info(model, timeout=30.0)

    try:
        info = attempt(request, str(Ref(model)), Retry())
    except RefusedError as refused:
        raise InputError(f"{model}: {first_line(refused.error)}") from refused
    except HFValidationError as error:
        raise InputError(f"{model}: not a name that the Hub allows") from error
    return base_models(info.card_data.to_dict() if info.card_data else None)


def _is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _plain(names: tuple[str, ...]) -> str | list[str] | None:
    return None if not names else names[0] if len(names) == 1 else list(names)


def _read_object(path: Path) -> dict:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds no JSON object of names: {{child: parent}} is asked for")
    return found


def _write(path: Path, facts: Mapping[str, object]) -> None:
    write_atomic(path, (json.dumps(facts, indent=1) + "\n").encode())


def ask_nobody(model: str) -> tuple[str, ...]:
    """In place of the Hub: a page is made without a network."""
    raise JaxmapError(
        "a report asks no Hub for parents; `jaxmap scale` does, and the store keeps the answers"
    )

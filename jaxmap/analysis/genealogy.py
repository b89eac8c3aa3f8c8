"""Parents and types of models, from model cards on the Hub or from files.

A store keeps them in STORE/genealogy/: cards.json (the Hub's answers, each requested once),
parents.json and types.json (from a released folder). The layouts are those of Oyama et al.:

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
from jaxmap.checkpoint.sources.model_card import card_of
from jaxmap.checkpoint.sources.retry import RefusedError, Retry, attempt
from jaxmap.errors import InputError, JaxmapError, first_line
from jaxmap.progress import progress
from jaxmap.store.record import Entry

Parents = dict[str, tuple[str, ...]]  # () for a model known to have none

FOLDER = "genealogy"


def read_parents(path: str | os.PathLike[str]) -> Parents:
    """Reads a file of parents; raises InputError if its layout is not the one above."""
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
    """Reads a file of model types, without those that are null.

    Raises InputError if its layout is not the one above.
    """
    types = _read_object(Path(path))
    for model, kind in types.items():
        if kind is not None and not isinstance(kind, str):
            raise InputError(f"{path}: {model!r}: the type has to be a string or null")
    return {model: kind for model, kind in types.items() if kind is not None}


def save_known(
    store_path: Path, parents: Mapping[str, tuple[str, ...]] | None, types: Mapping[str, str] | None
) -> None:
    """Writes parents and types into a store's folder, in the published layouts."""
    if parents is not None:
        plain = {child: _plain(names) for child, names in parents.items()}
        _write(store_path / FOLDER / "parents.json", plain)
    if types is not None:
        _write(store_path / FOLDER / "types.json", dict(types))


def known_parents(store_path: Path) -> Parents | None:
    """The parents that came with the store's results; None if none did."""
    path = store_path / FOLDER / "parents.json"
    return read_parents(path) if path.exists() else None


def parents_of(
    store_path: Path,
    models: Iterable[str],
    override: str | os.PathLike[str] | None = None,
    ask: Callable[[str], tuple[str, ...]] | None = None,
    recorded: Mapping[str, tuple[str, ...]] | None = None,
) -> Parents:
    """The parents of models, from the first of these sources that has them.

    1. the file `override`;
    2. the store's parents.json and cards.json;
    3. `recorded`: facts in the records (an adapter's base, a card in the model's folder);
    4. the model's card on the Hub (`base_model`), or `ask`; the answer is kept in the store.

    Offline, and for models to which the Hub gives no access, the parents are unknown and nothing is
    kept; a warning gives their number.
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
    """The type of each model by name, from the store's types.json or else `model_type`."""
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
    """Iterates over models with a progress bar, while their cards are read."""
    with progress(len(models), "model cards", "model", leave=False) as bar:
        for model in models:
            yield model
            bar.update()


def base_models(card: Mapping[str, object] | None) -> tuple[str, ...]:
    """The `base_model` of a model card's metadata: none, one, or several (a merge)."""
    return card_of(card).base_models


def generations(num_models: int, pairs_P2: np.ndarray) -> np.ndarray:
    """The generation of each model: 1 without a parent, 2 for its children, and so on; int64 [K].

    It is the length of the longest way from a root. A circle of ancestors is cut after as many
    steps as there are models.
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
        raise InputError(f"{path}: holds no JSON object of names: {{child: parent}} is needed")
    return found


def _write(path: Path, facts: Mapping[str, object]) -> None:
    write_atomic(path, (json.dumps(facts, indent=1) + "\n").encode())


def ask_nobody(model: str) -> tuple[str, ...]:
    """Used instead of the Hub, so that a report is made without a network."""
    raise JaxmapError(
        "a report asks no Hub for parents; `jaxmap scale` does, and the store keeps the answers"
    )

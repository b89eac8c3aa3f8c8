"""STORE/runs.json: facts that users gave about the training runs of a store (`naming.RunFacts`)."""

from __future__ import annotations

from pathlib import Path

from jaxmap.atomic import write_atomic
from jaxmap.errors import InputError
from jaxmap.naming import GRAMMAR, Names, names_of
from jaxmap.store.json_files import CorruptError, decode_json, encode_json

FILE = "runs.json"


def read(store_path: Path) -> Names:
    """Reads the given facts, if there are any; raises InputError for a damaged file."""
    path = store_path / FILE
    if not path.exists():
        return GRAMMAR
    try:
        return names_of(decode_json(path)["runs"])
    except (CorruptError, KeyError, TypeError, AttributeError, InputError) as error:
        raise InputError(f"{path}: damaged ({error}): remove it, and give the runs again") from None


def write(store_path: Path, names: Names) -> None:
    """Adds facts; they replace earlier ones about the same model and run."""
    if not names.given:
        return
    new = {(one.model, one.run): None for one in names.given}
    before = read(store_path)
    kept = [one for one in before.given if (one.model, one.run) not in new]
    facts = (*names.given, *kept)
    if facts != before.given:
        write_atomic(store_path / FILE, encode_json({"runs": [one.fields for one in facts]}))

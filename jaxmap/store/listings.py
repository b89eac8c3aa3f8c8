"""STORE/listings/NAME-KEY.json: branches and tags that models on the Hub had when last listed."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxmap.atomic import write_atomic
from jaxmap.naming import natural_key
from jaxmap.store.folder import Folder
from jaxmap.store.json_files import CorruptError, decode_json, encode_json
from jaxmap.store.record import file_stem, hash_facts, now
from jaxmap.store.store import Store

FOLDER = "listings"
SHOWN = 3  # revisions that a line names


@dataclass(frozen=True)
class Listing:
    """The revisions of one model on the Hub, and when they were listed (UTC, ISO 8601)."""

    name: str
    revisions: tuple[str, ...]
    created: str


def read_listings(store_path: str | os.PathLike[str]) -> dict[str, Listing]:
    """The listings of a store by the model's name; none where there is no store."""
    if not (Path(store_path) / FOLDER).is_dir():
        return {}
    folder: Folder[Listing] = Folder(Path(store_path) / FOLDER, ".json", _read)
    return {one.name: one for one in folder.refresh()}


def write_listings(store_path: str | os.PathLike[str], found: Mapping[str, Sequence[str]]) -> None:
    """Writes listings, which replace earlier ones of the same models."""
    for name, revisions in found.items():
        path = Path(store_path) / FOLDER / f"{file_stem(name, hash_facts({'name': name}))}.json"
        facts = {"created": now(), "name": name, "revisions": sorted(revisions, key=natural_key)}
        write_atomic(path, encode_json(facts))


def not_asked(store: Store) -> list[str]:
    """A line for each model whose listing has checkpoints of runs that were not asked for."""
    asked = {(item.ref, item.revision) for item in store.asked()}
    asked |= {(entry.identity.ref, entry.identity.revision) for entry in store.entries()}
    names, lines = store.names, []
    for name, listing in sorted(read_listings(store.path).items(), key=lambda one: one[0]):
        timed = [one for one in listing.revisions if names.parse(name, one).time is not None]
        lacking = [one for one in timed if (name, one) not in asked]
        if lacking:
            more = ", ..." if len(lacking) > SHOWN else ""
            lines.append(
                f"{name}: {len(lacking)} of {len(timed)} checkpoints "
                f"({', '.join(lacking[:SHOWN])}{more}), as listed on {listing.created[:10]}"
            )
    return lines


def _read(path: Path) -> Listing:
    facts = decode_json(path)
    try:
        return Listing(str(facts["name"]), tuple(map(str, facts["revisions"])), facts["created"])
    except (KeyError, TypeError) as error:
        raise CorruptError(f"not a listing ({error})") from error

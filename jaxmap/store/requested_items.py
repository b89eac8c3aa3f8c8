"""The items that runs requested of a store, and the command lines of the runs.

STORE/asked/HASH.json       the items of a run; HASH is of the items, so that a run that is
                            started again has the same file
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from jaxmap.atomic import write_atomic
from jaxmap.naming import natural_key
from jaxmap.store.folder import Folder
from jaxmap.store.json_files import encode_json
from jaxmap.store.record import now
from jaxmap.store.requests import Item, decode_requested


class RequestedItems:
    """The requested items in a store's folder.

    Args:
      path: the folder of the files, one per run.
    """

    def __init__(self, path: Path):
        self._runs = Folder(path, ".json", decode_requested)

    def add(self, items: Iterable[Item], command: str = "") -> None:
        """Writes the items of a run and the command line that resumes it, if they are new."""
        asked = [item.facts for item in sorted(set(items), key=item_order)]
        name = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
        path = self._runs.path / f"{name}.json"
        runs = self._runs.refresh()
        known = not command or any(run.command == command for run in runs)
        if asked and (path in self._runs.corrupt() or not path.exists() or not known):
            facts = {"created": now(), "command": command, "items": asked}
            write_atomic(path, encode_json(facts))

    def items(self) -> list[Item]:
        """All items that were ever requested, each once, in a fixed order."""
        items = {item for run in self._runs.refresh() for item in run.items}
        return sorted(items, key=item_order)

    def commands(self, items: Iterable[Item]) -> list[str]:
        """The commands that requested these items, each once; those with most items come first."""
        wanted = set(items)
        counts: dict[str, int] = defaultdict(int)
        for run in self._runs.refresh():
            if run.command and (found := wanted.intersection(run.items)):
                counts[run.command] = max(counts[run.command], len(found))
        return sorted(counts, key=lambda command: (-counts[command], command))

    def corrupt(self) -> dict[Path, str]:
        """Damaged files, with the reasons."""
        self._runs.refresh()
        return self._runs.corrupt()


def item_order(item: Item) -> tuple[object, ...]:
    """The sort key of an item: its name, numbers in it by their values, then the variant."""
    revision = item.revision or ""
    name = natural_key(item.ref), natural_key(revision)
    one = item.variant
    return (*name, one.quantisation, one.precision, bool(one.lens), one.tuned, item.statistics)

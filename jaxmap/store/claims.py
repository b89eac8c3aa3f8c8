"""Who is at what, so that workers of one store share its work: STORE/claims/KEY.json.

A claim is advice. Two workers that come to hold one at the same moment compute the same result
twice and write the same file; one whose worker has died is taken over. No clock is compared.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from jaxmap.atomic import create_atomic, remove_stale_temps, write_atomic
from jaxmap.store.json_files import CorruptError, decode_json, encode_json
from jaxmap.store.record import file_stem, hash_facts

FOLDER = "claims"


class Alive(Protocol):
    """Tells whether a worker, by its name, still runs."""

    def alive(self, name: str) -> bool: ...


class Claims:
    """The claims of one worker.

    Args:
      store_path: the store.
      worker: its name.
      workers: says which other workers live.
    """

    def __init__(self, store_path: Path, worker: str, workers: Alive):
        self._folder = store_path / FOLDER
        self._worker = worker
        self._workers = workers
        self._held: set[Path] = set()
        remove_stale_temps(self._folder)

    def take(self, label: str) -> bool:
        """Claims a piece of work; false when another worker that lives is at it."""
        path = self._path(label)
        if path in self._held:
            return True
        content = encode_json({"worker": self._worker, "label": label})
        if not create_atomic(path, content):
            owner = _owner(path)
            if owner is not None and owner != self._worker and self._workers.alive(owner):
                return False
            write_atomic(path, content)
            if _owner(path) != self._worker:  # another took it over at the same moment
                return False
        self._held.add(path)
        return True

    def release(self, label: str) -> None:
        """Gives a claim back."""
        path = self._path(label)
        if path in self._held:
            self._held.discard(path)
            if _owner(path) == self._worker:
                path.unlink(missing_ok=True)

    def release_all(self) -> None:
        """Gives back all that is held."""
        for path in list(self._held):
            self._held.discard(path)
            if _owner(path) == self._worker:
                path.unlink(missing_ok=True)

    def _path(self, label: str) -> Path:
        return self._folder / f"{file_stem(label, hash_facts({'label': label}))}.json"


def _owner(path: Path) -> str | None:
    """The worker of a claim; None when it was given back, or is damaged."""
    try:
        return str(decode_json(path)["worker"])
    except (CorruptError, KeyError):
        return None

"""Claims, by which the workers of one store divide the items: STORE/claims/KEY.json.

Of several workers that claim an item exactly one gets it, since a file can be created only once.
One whose worker has died is taken over, once again by exactly one: the next owner's claim is a
further file, KEY+1.json, and so on; the last one counts. No clock is compared, and none of these
files has to outlive the machine.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol

from jaxmap.atomic import create_atomic, remove_stale_temps
from jaxmap.store.json_files import CorruptError, decode_json, encode_json
from jaxmap.store.record import file_stem, hash_facts
from jaxmap.store.stale_files import asked_again, is_stale

FOLDER = "claims"
_TRIES = 10  # of a claim that others take and give back at the same moment


class Alive(Protocol):
    """Finds out whether a worker, given by its name, is still running."""

    def alive(self, name: str) -> bool:
        """Whether the worker of this name is still at work."""


class Claims:
    """The claims of one worker.

    Args:
      store_path: the store's folder.
      worker: the worker's name.
      workers: finds out which other workers are running.
    """

    def __init__(self, store_path: Path, worker: str, workers: Alive):
        self._folder = store_path / FOLDER
        self._worker = worker
        self._workers = workers
        self._owned: dict[str, int] = {}  # label -> number of our file
        remove_stale_temps(self._folder)

    def take(self, label: str) -> bool:
        """Claims an item; returns false if another running worker has claimed it."""
        if label in self._owned:
            return True
        content = encode_json({"worker": self._worker, "label": label})
        for _ in range(_TRIES):
            number = 0
            while self._path(label, number).exists():
                number += 1
            last = self._path(label, number - 1)
            if number:
                try:
                    owner = str(asked_again(partial(decode_json, last))["worker"])
                except (CorruptError, KeyError) as error:
                    if is_stale(error):  # nobody can say: later
                        return False
                    gone = isinstance(error.__cause__, FileNotFoundError)
                    if gone or not last.exists():  # given back just now
                        continue
                    owner = ""  # damaged: whoever it was, its work is not known to be done
                if owner == self._worker:  # an answer of the file system was lost
                    self._owned[label] = number - 1
                    return True
                if owner and self._workers.alive(owner):
                    return False
            if not create_atomic(self._path(label, number), content, durable=False):
                continue
            if number == 0 or last.exists():
                self._owned[label] = number
                return True
            # What was to be taken over was given back meanwhile: the first claim is free.
            self._path(label, number).unlink(missing_ok=True)
        return False

    def release(self, label: str) -> None:
        """Removes a claim."""
        number = self._owned.pop(label, None)
        if number is not None:
            for one in range(number + 1):  # our own last: until then the work is ours
                self._path(label, one).unlink(missing_ok=True)

    def release_all(self) -> None:
        """Gives back all that is owned."""
        for label in list(self._owned):
            self.release(label)

    def _path(self, label: str, number: int) -> Path:
        stem = file_stem(label, hash_facts({"label": label}))
        return self._folder / (f"{stem}+{number}.json" if number else f"{stem}.json")

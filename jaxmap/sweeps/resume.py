"""A vector that is being computed, kept now and then: STORE/partial/*.npz.

Batches are planned before the first is scored, so what is done is a set of batches and the sums
of their texts; going on gives the bits that an uninterrupted run gives. One file an item, replaced
as a whole and removed when the item is done. Readers of a store do not look here.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from absl import logging

from jaxmap.atomic import write_atomic
from jaxmap.corpus.batches import Plan
from jaxmap.store.record import file_stem, hash_facts
from jaxmap.store.requests import Item

FOLDER = "partial"


class Stopped(Exception):
    """The run was told to end; what is done of the vector is saved."""


def partial_path(store_path: Path, item: Item) -> Path:
    """Where the vector of an item is kept; one place whatever the commit, so that none is lost
    sight of."""
    return store_path / FOLDER / f"{file_stem(item.label, item.key)}.npz"


class Partial:
    """Sums of the batches done so far.

    Args:
      path: the file.
      facts: all that the numbers depend on; another file's are not gone on with.
      every: seconds between two saves; 0: after every batch.
    """

    def __init__(self, path: Path, facts: dict[str, Any], every: float):
        self.path = path
        self.total_RN = np.zeros((0, 0))
        self.done_B = np.zeros(0, bool)
        self._facts = facts
        self._every = every
        self._key = ""
        self._saved = time.monotonic()

    def begin(self, plan: Plan, rows: int, texts: int) -> None:
        """Starts, or goes on where a run of the same facts and the same plan stopped."""
        planned = hashlib.sha256(repr(plan).encode()).hexdigest()
        self._key = hash_facts({**self._facts, "plan": planned, "rows": rows, "texts": texts})
        self.total_RN = np.zeros((rows, texts))
        self.done_B = np.zeros(plan.num_batches, bool)
        found = self._read()
        if found is not None:
            self.total_RN, self.done_B = found
            logging.info(
                "%d of %d batches were done before: going on", self.done_B.sum(), len(self.done_B)
            )
        self._saved = time.monotonic()

    def note(self, batch: int) -> None:
        """Says that a batch's sums are in, and saves when it is time to."""
        self.done_B[batch] = True
        if time.monotonic() - self._saved >= self._every and not self.done_B.all():
            self.save()

    def save(self) -> None:
        """Writes what is done; InputError when the disk is full."""
        buffer = io.BytesIO()
        key = np.array(json.dumps({"key": self._key}))
        np.savez(buffer, allow_pickle=False, facts=key, total=self.total_RN, done=self.done_B)
        write_atomic(self.path, buffer.getvalue())
        self._saved = time.monotonic()

    def _read(self) -> tuple[np.ndarray, np.ndarray] | None:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                key = json.loads(str(file["facts"]))["key"]
                total_RN, done_B = file["total"], file["done"]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            logging.warning("%s: damaged (%s): its texts are scored again", self.path, error)
            return None
        # The key covers the shapes too.
        return (total_RN, done_B) if key == self._key else None

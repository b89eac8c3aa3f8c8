"""Saves the unfinished scores of an item at intervals: STORE/partial/*.npz.

Batches are planned before the first is scored, so the finished part is a set of batches and the
sums of their texts, and a resumed run gives exactly the numbers of an uninterrupted one. There is
one file per item, which is replaced atomically and removed when the item is done. Readers of a
store ignore it.
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
from jaxmap.corpus.batches import BatchPlan
from jaxmap.store.record import hash_facts

_DONE, _FACTS = "done", "facts"  # beside the arrays


class UnfinishedScores:
    """The results of the batches done so far, see `jaxmap.engine.callbacks.Resumable`.

    Args:
      path: the file.
      facts: everything that the numbers depend on; a file with other facts is not resumed.
      every: seconds between two saves; 0: after every batch.
    """

    def __init__(self, path: Path, facts: dict[str, Any], every: float):
        self.path = path
        self._arrays: dict[str, np.ndarray] = {}
        self._done_B = np.zeros(0, bool)
        self._facts = facts
        self._every = every
        self._key = ""
        self._saved = time.monotonic()

    def begin(self, plan: BatchPlan, arrays: dict[str, np.ndarray]) -> np.ndarray:
        """Starts, or resumes the results of a run with the same facts, plan and arrays.

        Args:
          plan: the plan of the batches.
          arrays: results by name, which are filled with earlier results. The object keeps them, and
            later saves what is written into them.

        Returns which batches were done before, bool [B]; the object keeps this array too.
        """
        planned = hashlib.sha256(repr(plan).encode()).hexdigest()
        shapes = {name: [str(array.dtype), *array.shape] for name, array in arrays.items()}
        self._key = hash_facts({**self._facts, "plan": planned, "arrays": shapes})
        self._arrays = arrays
        self._done_B = np.zeros(plan.num_batches, bool)
        found = self._read()
        if found is not None:
            self._done_B = found.pop(_DONE)
            for name, array in arrays.items():
                array[...] = found[name]
            logging.info(
                "%d of %d batches were done before: resuming",
                self._done_B.sum(),
                len(self._done_B),
            )
        self._saved = time.monotonic()
        return self._done_B

    def note(self, batch: int) -> None:
        """Marks a batch as written to the arrays, and saves if the last save is long ago."""
        self._done_B[batch] = True
        if time.monotonic() - self._saved >= self._every and not self._done_B.all():
            self.save()

    def save(self) -> None:
        """Saves the results so far; raises InputError if the disk is full."""
        buffer = io.BytesIO()
        key = np.array(json.dumps({"key": self._key}))
        arrays = {**self._arrays, _DONE: self._done_B, _FACTS: key}
        np.savez(buffer, allow_pickle=False, **arrays)
        write_atomic(self.path, buffer.getvalue())
        self._saved = time.monotonic()

    def _read(self) -> dict[str, np.ndarray] | None:
        try:
            with np.load(self.path, allow_pickle=False) as file:
                if json.loads(str(file[_FACTS]))["key"] != self._key:
                    return None  # the key covers names and shapes too
                return {name: file[name] for name in (*self._arrays, _DONE)}
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            logging.warning("%s: damaged (%s): its texts are scored again", self.path, error)
            return None

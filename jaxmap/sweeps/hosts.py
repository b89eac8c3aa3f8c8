"""Several processes that score each checkpoint together.

The first process runs the sweep: it alone resolves references, decides what is missing, and writes
records. The others follow its orders, each of which is to load or to score, with their own parts of
the weights and rows of a batch. They need the same command line and read the same files. Orders are
numbered strings in JAX's coordination service, so that waiting for one needs no computation.
"""

from __future__ import annotations

import base64
import json
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import jax
import numpy as np
from absl import logging

from jaxmap import distributed
from jaxmap.checkpoint.refs import Ref, is_folder
from jaxmap.checkpoint.sources.files import fetch
from jaxmap.checkpoint.sources.types import CheckpointFiles, Resolved
from jaxmap.engine.callbacks import Stopped
from jaxmap.errors import InputError, JaxmapError
from jaxmap.store.requests import Item

T = TypeVar("T")
_NOTHING = "nothing"  # sent in place of the list of finished batches: there is nothing to do


class HasTexts(Protocol):
    """A checkpoint in memory with its texts."""

    @property
    def ids_hash(self) -> str:
        """A hash of the ids of all texts, which must be equal in all processes."""


L = TypeVar("L", bound=HasTexts)


class Hosts:
    """Keeps processes that score together in step: they compute the same batches and stop together.

    Fields:
      stopped: whether all of them were told to stop, at the same batch.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._steps = 0

    def same(self, n: int, done_B: np.ndarray) -> np.ndarray:
        """The first process's `done_B`, in every process."""
        if distributed.first():
            text = base64.b64encode(done_B.tobytes()).decode()
            distributed.client().key_value_set(_done(n), text)
            return done_B
        text = distributed.wait_for(_done(n)) or ""
        if text == _NOTHING:
            raise JaxmapError("the first process does not score this")
        return np.frombuffer(base64.b64decode(text), bool)

    def stop(self) -> bool:
        """Whether all stop before this batch; every process calls it before every batch."""
        self._steps += 1
        self.stopped = self.stopped or distributed.told_to_stop(self._steps)
        return self.stopped


class Leader(Hosts, Generic[L]):
    """The first process, which orders what all processes load and score.

    Args:
      answer_s: seconds to wait for the others to report that they failed too.
    """

    def __init__(self, answer_s: float = 60.0) -> None:
        super().__init__()
        self._answer_s = answer_s
        self._number = 0
        self._lock = threading.Lock()  # a thread of its own may load while another scores
        self._loads: dict[int, weakref.ref[L]] = {}

    def load(self, files: CheckpointFiles, own: Callable[[], L]) -> L:
        """Loads the parts of all processes; raises the error of any of them."""
        with self._lock:
            kept = [n for n, loaded in self._loads.items() if loaded() is not None]
            n = self._say(
                "load",
                ref=[files.ref.name, files.ref.revision],
                commit=files.commit,
                folder=str(files.folder),
                keep=kept,
            )
        error: Exception | None = None
        try:
            loaded = own()
        except Exception as raised:
            error = raised
        answers = self._answers(n, None)
        if error is not None:
            raise error
        for who, answer in answers.items():
            if answer["error"]:
                kind = InputError if answer["input"] else JaxmapError
                raise kind(f"process {who}: {answer['error']}")
            if answer["ids"] != loaded.ids_hash:
                raise InputError(f"process {who} has other texts or another tokenizer")
        self._loads[n] = weakref.ref(loaded)
        return loaded

    def score(self, loaded: L, item: Item, own: Callable[[int], T]) -> T:
        """Scores in all processes; `own` scores this process's part, given the order's number."""
        of = next(n for n, one in self._loads.items() if one() is loaded)
        with self._lock:
            n = self._say("score", of=of, item=item.facts)
        try:
            return own(n)
        except Stopped:
            raise  # the same everywhere
        except Exception as error:
            distributed.client().key_value_set(_done(n), _NOTHING, True)
            # If only some processes fail, the others wait in a collective operation for ever.
            answers = self._answers(n, self._answer_s)
            if len(answers) < jax.process_count() - 1:
                code = distributed.BAD_INPUT if isinstance(error, InputError) else 1
                distributed.end(code, f"{item.label}: {error or type(error).__name__}")
            raise

    def end(self, ending: str) -> None:
        """Tells the others to end in the same way."""
        self._say("end", ending=ending)

    def _say(self, what: str, **facts: Any) -> int:
        self._number += 1
        order = json.dumps({"what": what, **facts})
        distributed.client().key_value_set(f"jaxmap/order/{self._number}", order)
        return self._number

    def _answers(self, n: int, timeout_s: float | None) -> dict[int, dict]:
        found = {}
        for who in range(1, jax.process_count()):
            text = distributed.wait_for(f"jaxmap/answer/{n}/{who}", timeout_s)
            if text is not None:
                found[who] = json.loads(text)
        return found


class Follower(Hosts):
    """Every other process, which loads and scores as the first one orders."""

    def follow(
        self,
        load: Callable[[CheckpointFiles], L],
        score: Callable[[L, Item, int], object],
    ) -> Any:
        """Follows the first process's orders until the end; returns how it ended.

        Args:
          load: loads this process's part of a checkpoint.
          score: scores an item of a checkpoint, given the order's number.
        """
        loads: dict[int, L] = {}
        n = 0
        while True:
            n += 1
            order = json.loads(distributed.wait_for(f"jaxmap/order/{n}") or "")
            if order["what"] == "end":
                return order["ending"]
            if order["what"] == "load":
                loads = {k: loads[k] for k in order["keep"] if k in loads}
                try:
                    loads[n] = load(_files(order))
                    self._answer(n, None, loads[n].ids_hash)
                except Exception as error:
                    self._answer(n, error)
            else:
                try:
                    score(loads[order["of"]], Item.of_facts(order["item"]), n)
                except Stopped:
                    pass
                except Exception as error:
                    # The first process has the same error and records it, or else continues.
                    if not isinstance(error, JaxmapError):
                        logging.error("process %d: %s", jax.process_index(), error)
                    self._answer(n, error)

    def _answer(self, n: int, error: Exception | None, ids: str = "") -> None:
        text = "" if error is None else f"{error}" or type(error).__name__
        answer = {"error": text, "input": isinstance(error, InputError), "ids": ids}
        key = f"jaxmap/answer/{n}/{jax.process_index()}"
        distributed.client().key_value_set(key, json.dumps(answer))


def _done(n: int) -> str:
    return f"jaxmap/done/{n}"


def _files(order: dict) -> CheckpointFiles:
    """The checkpoint of an order on this host's disk: a shared folder, or a download."""
    ref = Ref(*order["ref"])
    if is_folder(ref.name):
        return CheckpointFiles(ref, Path(order["folder"]), order["commit"], ())
    from jaxmap.checkpoint.sources.files import resolve

    commit = order["commit"]
    if commit.startswith(
        "sha256:"
    ):  # an adapter with its base has a hash, which is no revision of either
        resolved: Resolved = resolve(ref)
        if resolved.commit != commit:
            raise JaxmapError(f"{ref}: it is another checkpoint here than where the run began")
    else:
        resolved = resolve(Ref(ref.name, commit))
    return fetch(resolved)

"""A store: a folder with one immutable file per result, for many concurrent readers and writers.

    STORE/store.json                            the texts it was made with: fingerprint, bytes
    STORE/asked/HASH.json                       the items that a run requested
    STORE/runs.json                             facts that users gave about training runs
    STORE/records/, STORE/token_arrays/         results, see `jaxmap.store.records`
    STORE/failures/MODEL-KEY.json               an item that could not be scored

No file is changed in place, so a process killed at any moment leaves a valid store. Results are
recognised by what they depend on (`Identity`); file names are for people.
docs/store-format.md describes every file.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxmap.atomic import check_writable, create_atomic, remove_stale_temps, write_atomic
from jaxmap.errors import InputError
from jaxmap.naming import Names
from jaxmap.store import run_facts, text_facts
from jaxmap.store.export_arrays import exported, statistics_of
from jaxmap.store.folder import Folder, Listing
from jaxmap.store.garbage_collection import garbage_collection_paused
from jaxmap.store.json_files import encode_json
from jaxmap.store.labels import arrange, labelled
from jaxmap.store.record import Entry, Identity, Record, file_stem
from jaxmap.store.records import Records, shown
from jaxmap.store.requested_items import RequestedItems, item_order
from jaxmap.store.requests import Failure, Item, decode_failure, is_complete
from jaxmap.store.statistics import STATISTICS
from jaxmap.store.store_path import check_existing, check_new
from jaxmap.store.text_facts import TextFacts, Texts

if TYPE_CHECKING:
    import xarray


class Store:
    """The results of scoring models on one set of texts. Open with `create` or `open`."""

    def __init__(self, path: Path, texts: TextFacts):
        self.path = path
        self.texts = texts
        self._records = Records(path, texts)
        self._failures = Folder(path / "failures", ".json", decode_failure, group=_checkpoint)
        self._asked = RequestedItems(path / "asked")
        self._given = Names()  # to this object alone

    @classmethod
    def create(cls, path: str | os.PathLike[str], texts: Texts) -> Store:
        """Opens a store for writing, making it if need be; cleans up after killed writers.

        Raises InputError when the path is a file or cannot be written, or when the store was made
        with other texts or by a later version.
        """
        path = Path(path)
        check_new(path)
        if len(texts.num_bytes) == 0:
            raise InputError(f"{texts.source}: holds no texts: nothing to score")
        # Of several processes one makes the file; the others, and this one, read it back.
        create_atomic(path / "store.json", text_facts.encode(texts))
        store = cls(path, text_facts.read(path / "store.json"))
        if store.texts.fingerprint != texts.fingerprint:
            what = text_facts.difference(store.texts, texts)
            raise InputError(
                f"{path}: made with {what} ({store.texts.fingerprint[:12]}, "
                f"{len(store.texts.text_bytes)} texts from {store.texts.source}) than these "
                f"({texts.fingerprint[:12]}, {len(texts.num_bytes)} texts from {texts.source}): "
                f"use another `store`, or the same texts"
            )
        store._records.prepare()
        for folder in (path, path / "failures", path / "asked"):
            check_writable(folder)
            remove_stale_temps(folder)
        return store

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Store:
        """Opens a store for reading; InputError when there is none."""
        path = Path(path)
        check_existing(path)
        return cls(path, text_facts.read(path / "store.json"))

    # Results

    def find(self, identity: Identity) -> Entry | None:
        """The finished result with this identity, from any process; None if there is none."""
        self._records.update(identity.ref, identity.revision)
        return self._records.find(identity)

    def find_all(self, identities: Iterable[Identity]) -> list[Entry | None]:
        """`find` for several identities, with one listing of the folder for each checkpoint."""
        identities = list(identities)
        for ref, revision in {(one.ref, one.revision) for one in identities}:
            self._records.update(ref, revision)
        return [self._records.find(identity) for identity in identities]

    def add(self, record: Record) -> Entry:
        """Adds a result, or further statistics of one, and removes failures that it settles.

        Existing arrays are not changed. Raises InputError, and writes nothing, if a value is NaN or
        infinite, if the record has other texts, or if the disk is full or read-only.
        """
        identity = record.identity
        self._records.update(identity.ref, identity.revision)
        known = self._records.find(identity)
        entry = self._records.write(record, self._records.next_generation(identity), known)
        self._failures.update()
        for failure in self._failures.group((identity.ref, identity.revision)):
            if failure.item.matches(entry):
                self.settle(failure.item, identity.commit)
        return entry

    def add_many(self, records: Iterable[Record]) -> int:
        """Adds many results, except those that exist already; returns the number of new ones.

        Each is on disk before the next is taken from `records`. Unlike `add`, it lists the folder
        once and does not change failures, so that thousands take seconds.
        """
        known = {entry.identity for entry in self._records.all()}
        generations: dict[tuple[str, str | None, str], int] = {}
        added = 0
        for record in records:
            one = record.identity
            if one in known:
                continue
            # All results of a checkpoint in one call have the same generation.
            key = (one.ref, one.revision, one.commit)
            if key not in generations:
                generations[key] = self._records.next_generation(one)
            self._records.write(record, generations[key])
            known.add(one)
            added += 1
        return added

    def entries(self) -> list[Entry]:
        """All results, shown or not, without labels."""
        entries, names = self._records.all(), self.names
        return [replace(entry, names=names) for entry in entries] if names.given else entries

    def records(self) -> list[Entry]:
        """The results to show: labelled, in a fixed order, one commit per checkpoint."""
        return self.arranged()[0]

    def superseded(self) -> list[Entry]:
        """Results of a commit, or a tokenizer, that has been replaced under the same name."""
        return self.arranged()[1]

    def arranged(self) -> tuple[list[Entry], list[Entry]]:
        """`records` and `superseded`, from one listing of the files."""
        with garbage_collection_paused():
            return arrange(shown(self.entries()))

    # Runs

    @property
    def names(self) -> Names:
        """The parser of checkpoints' names: the grammar, and the facts given about runs."""
        return self._given.over(run_facts.read(self.path))

    def describe_runs(self, names: Names) -> None:
        """Stores facts about runs, which replace earlier ones about the same runs."""
        run_facts.write(self.path, names)

    def with_runs(self, names: Names) -> Store:
        """This store with further facts about runs, which are not written."""
        other = Store(self.path, self.texts)
        other._given = names
        return other

    def corrupt(self) -> dict[Path, str]:
        """Damaged files, with the reasons; they count as absent."""
        self._failures.refresh()
        return self._records.corrupt() | self._failures.corrupt() | self._asked.corrupt()

    def load(self, entry: Entry) -> Record:
        """Reads a result's arrays per text; raises JaxmapError if it was damaged or removed."""
        return self._records.load(entry)

    def load_tokens(self, entry: Entry, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Reads an array per scored token, [M], and each text's offsets in it, int64 [N + 1].

        Raises KeyError if the result has no array of this name, JaxmapError if it was damaged or
        removed.
        """
        return self._records.load_tokens(entry, name)

    def log_likelihoods(self, entries: Iterable[Entry]) -> np.ndarray:
        """The vectors of results, float64 [K, N] in nats: log-likelihoods, or PMI."""
        entries = list(entries)
        ll_KN = np.empty((len(entries), len(self.texts.text_bytes)))
        for row, entry in zip(ll_KN, entries, strict=True):
            row[:] = self.load(entry).vector
        return ll_KN

    def known_files(
        self, ref: str, revision: str | None
    ) -> list[tuple[tuple[tuple[Any, ...], ...], str]]:
        """(stat signature, commit) of the folders from which results came, the newest first."""
        if not self._records.of(ref, revision):
            self._records.update(ref, revision)
        entries = sorted(self._records.of(ref, revision), key=lambda entry: -entry.generation)
        pairs = [(entry.provenance.files, entry.identity.commit) for entry in entries]
        return list(dict.fromkeys(pair for pair in pairs if pair[0]))

    # Requests and failures

    def ask(self, items: Iterable[Item], command: str = "") -> None:
        """Records the items that a run requests, so that `missing` can tell what is not done yet.

        `command` is the command line that resumes the run; of several, the last is kept.
        """
        self._asked.add(items, command)

    def asked(self) -> list[Item]:
        """All items that were ever requested, each once, in a fixed order."""
        return self._asked.items()

    def commands(self, items: Iterable[Item]) -> list[str]:
        """The commands that requested these items, each once; those with most items come first."""
        return self._asked.commands(items)

    def is_done(self, item: Item, commit: str | None = None, listing: Listing = "now") -> bool:
        """Whether an item is complete, for the given commit or for any.

        With the lens these are the model's output and the layers 0 to L, each with all requested
        statistics. `listing`: "last" goes by the last listing of the folder; "server" ignores one
        that a network file system has kept, to be asked once the item is claimed, when nobody else
        can complete it any more.
        """
        # What was complete at the last listing stays so; only otherwise the folder is listed again.
        if self._is_done(item, commit):
            return True
        self._records.update(item.ref, item.revision, listing)
        return self._is_done(item, commit)

    def add_failure(self, failure: Failure) -> None:
        """Records a failure, which replaces an earlier one of the same item."""
        write_atomic(self.failure_path(failure.item), encode_json(failure.facts))

    def failures(self) -> list[Failure]:
        """Items whose last attempt failed."""
        self._failures.update()
        return sorted(self._failures.values(), key=lambda failure: item_order(failure.item))

    def settle(self, item: Item, commit: str | None = None) -> None:
        """Removes the failure of an item if the item is done now (for the given commit)."""
        path = self.failure_path(item)
        if path.exists() and self.is_done(item, commit):
            path.unlink(missing_ok=True)

    def missing(self) -> list[Item]:
        """Requested items that are neither done nor failed."""
        failed = {failure.item for failure in self.failures()}
        self._records.refresh()
        return [
            item for item in self.asked() if item not in failed and not self._is_done(item, None)
        ]

    # Labelled arrays

    def dataset(self) -> xarray.Dataset:
        """All results as labelled arrays over (model, text); see the attributes for units."""
        entries = self.records()
        names = statistics_of(entries)
        shape = (len(entries), len(self.texts.text_bytes))
        arrays = {name: np.empty(shape, STATISTICS[name].dtype) for name in names}
        for row, entry in enumerate(entries):
            for name, array_N in exported(self.load(entry), names).items():
                arrays[name][row] = array_N
        return self.labels(entries).assign(
            {name: (("model", "text"), array_KN) for name, array_KN in arrays.items()}
        )

    def labels(self, entries: list[Entry]) -> xarray.Dataset:
        """`dataset` for these results, without the arrays."""
        return labelled(entries, self.texts)

    def _is_done(self, item: Item, commit: str | None) -> bool:
        return is_complete(item, self._records.of(item.ref, item.revision), commit)

    def failure_path(self, item: Item) -> Path:
        """The file of an item's failure, which exists if there is one."""
        return self._failures.path / f"{file_stem(item.label, item.key)}.json"


def _checkpoint(failure: Failure) -> tuple[str, str | None]:
    return failure.item.ref, failure.item.revision
